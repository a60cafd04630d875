//! The files that credentials are kept in.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Credentials, CredentialsError, Field, Problem};

/// Where the parts of a node's credentials lie, to be read now and again when they were renewed.
///
/// # Examples
///
/// ```no_run
/// use actix_cluster_transport::tls::CredentialFiles;
///
/// let files = CredentialFiles::new("carts-1.pem", "carts-1-key.pem", "roots.pem")
///     .revoked("crl.pem");
/// let credentials = files.load()?;
/// # Ok::<(), actix_cluster_transport::tls::CredentialsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    chain: PathBuf,
    key: PathBuf,
    roots: PathBuf,
    revoked: Option<PathBuf>,
}

impl CredentialFiles {
    /// Three PEM files, as [`Credentials::from_files`] takes them. None is read yet.
    pub fn new(
        chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        roots: impl Into<PathBuf>,
    ) -> Self {
        Self { chain: chain.into(), key: key.into(), roots: roots.into(), revoked: None }
    }

    /// A PEM file of revocation lists as well, as [`Credentials::revoking`] takes them. It has to
    /// be there: an authority that has revoked nothing yet gives an empty list.
    #[must_use]
    pub fn revoked(mut self, lists: impl Into<PathBuf>) -> Self {
        self.revoked = Some(lists.into());
        self
    }

    /// Reads the files as they are now. Blocks.
    ///
    /// The files are read one after the other. Where another program replaces them, a pair of
    /// certificate and key that do not fit is refused ([`Problem::KeyMismatch`]): read again then.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`], which names the field, the file, what is wrong with it and the remedy.
    pub fn load(&self) -> Result<Credentials, CredentialsError> {
        let chain = read(Field::Chain, &self.chain)?;
        let key = read(Field::Key, &self.key)?;
        let roots = read(Field::Roots, &self.roots)?;
        let credentials =
            Credentials::from_pem(&chain, &key, &roots).map_err(|error| self.name(error))?;
        match &self.revoked {
            None => Ok(credentials),
            Some(path) => {
                let lists = read(Field::Revoked, path)?;
                credentials.revoking(&lists).map_err(|error| self.name(error))
            }
        }
    }

    fn name(&self, error: CredentialsError) -> CredentialsError {
        match (error.field, &self.revoked) {
            (Field::Chain, _) => error.of(&self.chain),
            (Field::Key, _) => error.of(&self.key),
            (Field::Roots, _) => error.of(&self.roots),
            (Field::Revoked, Some(path)) => error.of(path),
            (Field::Revoked, None) => error,
        }
    }
}

fn read(field: Field, path: &Path) -> Result<Vec<u8>, CredentialsError> {
    fs::read(path).map_err(|error| field.error(Problem::Unreadable(error)).of(path))
}
