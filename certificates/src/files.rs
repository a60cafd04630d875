//! Files that only their owner may read.
//!
//! Invariant: what is written is there whole or not at all, and never open to others, not even for
//! a moment.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use crate::Failure;

/// What is to become of files that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overwrite {
    Refuse,
    Replace,
}

impl From<bool> for Overwrite {
    fn from(force: bool) -> Self {
        if force { Self::Replace } else { Self::Refuse }
    }
}

impl Overwrite {
    /// Whether all these files may be written.
    pub(crate) fn check(self, paths: impl IntoIterator<Item = PathBuf>) -> Result<(), Failure> {
        let there = paths.into_iter().find(|path| path.exists());
        match there {
            Some(path) if self == Self::Refuse => Err(Failure::because(
                format!("{} is there already", path.display()),
                "give another directory, or --force to replace it",
            )),
            _ => Ok(()),
        }
    }
}

pub(crate) fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::because(format!("{}: {error}", path.display()), "give a path that this user may use")
}

pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| failed(path, &error))
}

pub(crate) fn make_directory(path: &Path) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| failed(path, &error))
}

/// Puts a whole file at `path`, in place of one that is there.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".draft-{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let written = write_private(&draft, text).and_then(|()| fs::rename(&draft, path));
    written.map_err(|error| {
        // As private as what was to be written.
        let _ = fs::remove_file(&draft);
        failed(path, &error)
    })
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether nobody but its owner may read a key.
#[cfg(unix)]
pub(crate) fn check_private(path: &Path) -> Result<(), Failure> {
    let metadata = fs::metadata(path).map_err(|error| failed(path, &error))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::because(
        format!("{path} has mode {mode:03o}, open to others"),
        format!("chmod 600 {path}, and make a new authority if others may have read it"),
    ))
}

#[cfg(not(unix))]
pub(crate) fn check_private(_: &Path) -> Result<(), Failure> {
    Ok(())
}
