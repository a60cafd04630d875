//! An authority kept in a directory.
//!
//! Invariant: once `ca-key.pem` is there it is whole and never replaced. It is written under
//! another name and linked into place, which succeeds once; who comes second takes the first's.

use std::{
    error::Error,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use rcgen::{KeyPair, PKCS_ED25519};
use ring::rand::{SystemRandom, generate};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{Inner, Validity, new_key};
use crate::identity::NodeName;

const KEY: &str = "ca-key.pem";
const ROOT: &str = "ca.pem";

/// A directory that gives no development authority.
#[derive(Debug)]
#[non_exhaustive]
pub enum DevelopmentError {
    /// The directory or a file in it cannot be made or read.
    Io {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others than its owner may use the directory or the key. Nothing in it is trusted.
    OpenToOthers {
        /// Which one.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it has to have.
        wanted: u32,
    },
    /// The key is not an Ed25519 key as PEM.
    Key {
        /// Its file.
        path: PathBuf,
    },
    /// The certificate is not of the key beside it.
    Mismatch {
        /// Its file.
        path: PathBuf,
    },
}

pub(super) fn load(directory: &Path) -> Result<Inner, DevelopmentError> {
    make_private(directory)?;
    let path = directory.join(KEY);
    let key_pem = match read_private(&path)? {
        Some(pem) => pem,
        None => {
            publish(directory, &path, &new_key().serialize_pem())?;
            let missing = || failed(&path, io::ErrorKind::NotFound.into());
            read_private(&path)?.ok_or_else(missing)?
        }
    };
    let key = KeyPair::from_pem(&key_pem).ok().filter(|key| key.algorithm() == &PKCS_ED25519);
    let key = key.ok_or(DevelopmentError::Key { path })?;
    with_root_of(directory, Inner::of(key))
}

/// The authority with the certificate in the directory, which its nodes may have read already; it
/// is put there if there is none.
fn with_root_of(directory: &Path, authority: Inner) -> Result<Inner, DevelopmentError> {
    let path = directory.join(ROOT);
    publish(directory, &path, &authority.root_pem)?;
    let root_pem = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
    // Another release may encode the same certificate otherwise: what counts is that it verifies.
    let probe = NodeName::new("probe").expect("it is a name");
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes())
        .ok()
        .filter(|root| authority.credentials_under(root, &probe, &Validity::LONG).is_ok())
        .ok_or(DevelopmentError::Mismatch { path })?;
    Ok(Inner { root, root_pem, ..authority })
}

fn make_private(directory: &Path) -> Result<(), DevelopmentError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|error| failed(directory, error))?;
    let metadata = fs::metadata(directory).map_err(|error| failed(directory, error))?;
    check_private(directory, &metadata, 0o700)
}

fn read_private(path: &Path) -> Result<Option<String>, DevelopmentError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    let metadata = file.metadata().map_err(|error| failed(path, error))?;
    check_private(path, &metadata, 0o600)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| failed(path, error))?;
    Ok(Some(text))
}

#[cfg(unix)]
fn check_private(
    path: &Path,
    metadata: &fs::Metadata,
    wanted: u32,
) -> Result<(), DevelopmentError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(DevelopmentError::OpenToOthers { path: path.to_owned(), mode, wanted })
}

#[cfg(not(unix))]
fn check_private(_: &Path, _: &fs::Metadata, _: u32) -> Result<(), DevelopmentError> {
    Ok(())
}

/// Puts a whole file at `path`, unless one is there.
fn publish(directory: &Path, path: &Path, text: &str) -> Result<(), DevelopmentError> {
    if path.try_exists().map_err(|error| failed(path, error))? {
        return Ok(());
    }
    let token = generate::<[u8; 8]>(&SystemRandom::new())
        .map_err(|_| failed(path, io::Error::other("no randomness")))?;
    let draft = directory.join(format!(".draft-{:016x}", u64::from_le_bytes(token.expose())));
    let outcome = write_private(&draft, text).and_then(|()| fs::hard_link(&draft, path));
    // A draft that stays behind is as private as the directory.
    let _ = fs::remove_file(&draft);
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map_err(|error| failed(path, error)),
    }
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

fn failed(path: &Path, source: io::Error) -> DevelopmentError {
    DevelopmentError::Io { path: path.to_owned(), source }
}

impl fmt::Display for DevelopmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, .. } => write!(
                f,
                "{} cannot be used; give a directory that this user may write",
                path.display()
            ),
            Self::OpenToOthers { path, mode, wanted } => {
                let path = path.display();
                write!(f, "{path} has mode {mode:03o}, open to others; chmod {wanted:03o} {path}")
            }
            Self::Key { path } => write!(
                f,
                "{} holds no ed25519 key; remove it and {ROOT} to get a new authority",
                path.display()
            ),
            Self::Mismatch { path } => write!(
                f,
                "{} is not the certificate of the key in {KEY}; remove it to have it made anew",
                path.display()
            ),
        }
    }
}

impl Error for DevelopmentError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
