//! The cluster key, from which the secrets of access keys are made.
//!
//! A signature can only be verified by somebody who knows the secret, so hashes of secrets would not do. Secrets
//! are stored nowhere: each is computed, from the cluster key and the id of its access key. The cluster key is in
//! a file of its own on the hosts of coordinators (which tell a secret once) and gateways (which verify), and never
//! in the journal, a snapshot or a message.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, HEXLOWER};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::access::SecretAccessKey;

/// Bytes of a cluster key.
const KEY_BYTES: usize = 32;
/// What ids of access keys begin with: SDKs expect capitals and digits, scanners for leaked keys `AK`.
const ID_PREFIX: &str = "AKWR";
/// Shortest and longest id, as IAM has it.
const ID_LENGTH: std::ops::RangeInclusive<usize> = 16..=128;

/// The id of an access key: 16 to 128 capitals and digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccessKeyId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is_known = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit();
        if ID_LENGTH.contains(&text.len()) && text.bytes().all(is_known) {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(40).collect();
        Err(format!(
            "`{shown}` is not the id of an access key; it has 16 to 128 of the characters A-Z 0-9"
        ))
    }
}

/// One cluster key.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; KEY_BYTES]);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterKey({})", self.fingerprint())
    }
}

impl ClusterKey {
    /// A key of these bytes.
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A new key, of the system's randomness. Edge only.
    ///
    /// # Errors
    /// The system has none.
    pub fn generate() -> std::io::Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Names the key and tells nothing of it.
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&self.derive("fingerprint", b"")[..8])
    }

    /// The id of a new access key, made of a number that is used once.
    pub fn access_key_id(&self, unique: &str) -> AccessKeyId {
        let bytes = self.derive("access key id", unique.as_bytes());
        AccessKeyId(format!("{ID_PREFIX}{}", BASE32_NOPAD.encode(&bytes[..10])))
    }

    /// The secret of an access key: 40 characters, 240 bits.
    pub fn secret(&self, id: &AccessKeyId) -> SecretAccessKey {
        let bytes = self.derive("secret access key", id.0.as_bytes());
        SecretAccessKey(BASE64_NOPAD.encode(&bytes[..30]))
    }

    /// HMAC-SHA256 of what for and of whom: one says nothing of another.
    fn derive(&self, purpose: &str, of: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key");
        mac.update(b"windrow 1 ");
        mac.update(Sha256::digest(purpose.as_bytes()).as_slice());
        mac.update(of);
        mac.finalize().into_bytes().into()
    }

    fn to_line(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

/// The keys of a cluster key file: the first makes new access keys, with all of them old ones are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterKeys(Vec<ClusterKey>);

impl ClusterKeys {
    /// Only this key.
    pub fn of(key: ClusterKey) -> Self {
        Self(vec![key])
    }

    /// The one for new access keys.
    pub fn newest(&self) -> &ClusterKey {
        &self.0[0]
    }

    /// The one with this fingerprint.
    pub fn find(&self, fingerprint: &str) -> Option<&ClusterKey> {
        self.0.iter().find(|key| key.fingerprint() == fingerprint)
    }

    /// Reads a file of one key a line, 64 hexadecimal digits; lines that begin with `#` are for people.
    ///
    /// # Errors
    /// It cannot be read, is readable for everybody, or holds something else.
    pub fn load(path: &Path) -> Result<Self, String> {
        let failed = |error: String| format!("read cluster key file `{}`: {error}", path.display());
        let open = || {
            let mut file = std::fs::File::open(path)?;
            let (mut text, mode) = (String::new(), file.metadata()?.permissions().mode());
            file.read_to_string(&mut text)?;
            Ok((text, mode))
        };
        let (text, mode) = open().map_err(|e: std::io::Error| failed(e.to_string()))?;
        if mode & 0o007 != 0 {
            return Err(failed(format!(
                "everybody may read or write it (mode {:03o}); make that 600",
                mode & 0o777
            )));
        }
        text.parse().map_err(failed)
    }

    /// Writes a new file with one new key, readable for its owner only. Answers whether there was none before.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(path: &Path) -> Result<bool, String> {
        let failed =
            |e: std::io::Error| format!("write cluster key file `{}`: {e}", path.display());
        let key = ClusterKey::generate().map_err(failed)?;
        let next = path.with_extension(format!("new-{}", std::process::id()));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&next)?;
            let line = key.to_line();
            writeln!(file, "# Windrow's cluster key: whoever has it can sign as anybody.\n{line}")?;
            file.sync_all()?;
            // A link does not replace what another has written meanwhile, and is never half a file.
            std::fs::hard_link(&next, path)
        };
        let written = write();
        // It is gone, or was never there.
        std::fs::remove_file(&next).ok();
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

impl FromStr for ClusterKeys {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let read = |(number, line): (usize, &str)| {
            let bytes = HEXLOWER.decode(line.as_bytes()).ok();
            let bytes = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
            // The line itself is not shown: it may be a key with a digit too few.
            bytes.map(ClusterKey).ok_or_else(|| {
                format!("line {} is not a key of 64 hexadecimal digits in lower case", number + 1)
            })
        };
        let keys: Vec<ClusterKey> = lines.map(read).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err("it holds no key".to_owned()) } else { Ok(Self(keys)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> ClusterKey {
        ClusterKey::new([byte; KEY_BYTES])
    }

    #[test]
    fn ids_and_secrets_have_the_form_that_sdks_take_and_are_each_keys_own() {
        let (a, b) = (key(1).access_key_id("1"), key(1).access_key_id("2"));
        assert_eq!((a.as_str().len(), &a.as_str()[..4]), (20, "AKWR"));
        assert_eq!(a.as_str().parse(), Ok(a.clone()));
        assert_ne!(a, b);
        let secrets = [key(1).secret(&a), key(1).secret(&b), key(2).secret(&a)];
        assert_eq!(secrets.each_ref().map(|secret| secret.0.len()), [40; 3]);
        assert!(secrets[0] != secrets[1] && secrets[0] != secrets[2]);
        assert_eq!(secrets[0], key(1).secret(&a));
        for bad in ["", "AKWR", "akwr567890123456", &"A".repeat(129), "AKWR56789012345/"] {
            assert!(bad.parse::<AccessKeyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_do_not_change_between_versions() {
        let id = "AKWRAAAAAAAAAAAAAAAA".parse().unwrap();
        assert_eq!(key(7).secret(&id).0, "GxV+z8nXwqvhrxIeaJxYjlqzxRb3nNW+4lVu8Nbo");
        assert_eq!(key(7).fingerprint(), "39ede18bccfac234");
    }

    #[test]
    fn a_file_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.key");
        assert!(ClusterKeys::load(&path).unwrap_err().contains("cluster.key"));
        assert_eq!(ClusterKeys::create(&path), Ok(true));
        let keys = ClusterKeys::load(&path).unwrap();
        assert_eq!(ClusterKeys::create(&path), Ok(false));
        assert_eq!(ClusterKeys::load(&path).as_ref(), Ok(&keys));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o604)).unwrap();
        assert!(ClusterKeys::load(&path).unwrap_err().contains("mode 604"));
    }

    #[test]
    fn the_first_key_of_a_file_is_for_new_access_keys() {
        let text = format!("# new\n{}\n\n {}\n", key(2).to_line(), key(1).to_line());
        let keys: ClusterKeys = text.parse().unwrap();
        assert_eq!(keys.newest(), &key(2));
        assert_eq!(keys.find(&key(1).fingerprint()), Some(&key(1)));
        assert_eq!(keys.find(&key(3).fingerprint()), None);
        let error = format!("{}\nsecret", key(2).to_line()).parse::<ClusterKeys>().unwrap_err();
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
        assert!("# nothing\n".parse::<ClusterKeys>().is_err());
        assert!(!format!("{:?}", key(2)).contains("0202"));
    }
}
