//! Where the store is, as it stands on the command line.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::redis::Target;

/// What was written on the command line, which is never shown: neither a usage error nor a log may have the password.
#[derive(Clone)]
pub struct StoreText(String);

impl StoreText {
    /// What it says.
    pub fn read(&self) -> Result<StoreAddress, StoreAddressError> {
        self.0.parse()
    }
}

impl FromStr for StoreText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for StoreText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`. Shown without its password.
#[derive(Clone)]
pub struct StoreAddress {
    pub(super) target: Target,
    shown: String,
}

/// Why a text is no address of a store. Never says the text: it may have a password in it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreAddressError {
    /// Another scheme, or none.
    #[error("a store is written redis://HOST:PORT/DB, for instance redis://127.0.0.1:6379/0")]
    Scheme,
    /// It would be encrypted.
    #[error("TLS to the store (rediss://) is not there yet; write redis://127.0.0.1:6379/0 and protect the way to it")]
    Tls,
    /// The rest of it.
    #[error("{0}; a store is written redis://[USER:PASSWORD@]HOST[:PORT][/DB], for instance redis://127.0.0.1:6379/0")]
    Invalid(String),
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(text: &str) -> Result<Self, StoreAddressError> {
        let rest = match text.split_once("://") {
            Some(("redis", rest)) => rest,
            Some(("rediss", _)) => return Err(StoreAddressError::Tls),
            Some(_) | None => return Err(StoreAddressError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(StoreAddressError::Invalid("nothing can be said after the database".to_owned()));
        }
        let target = Target::parse(text).map_err(StoreAddressError::Invalid)?;
        let shown = format!("redis://{}", rest.rsplit_once('@').map_or(rest, |(_, place)| place));
        Ok(Self { target, shown })
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let address: StoreAddress = "redis://mesh:se@cret@127.0.0.1:6380/3".parse().expect("it is one");

        assert_eq!((address.to_string(), format!("{address:?}")), {
            let shown = "redis://127.0.0.1:6380/3".to_owned();
            (shown.clone(), shown)
        });
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_cure_and_without_its_text() {
        for bad in [
            "",
            "127.0.0.1:6379",
            "http://:secret@127.0.0.1",
            "rediss://:secret@127.0.0.1",
            "redis://:secret@",
            "redis://:secret@127.0.0.1:99999",
            "redis://:secret@127.0.0.1:6379/first",
            "redis://:secret@127.0.0.1:6379/-1",
            "redis://:secret@127.0.0.1:6379/0?protocol=resp3",
            "redis://:secret@0.0.0.0:6379",
        ] {
            let error = bad.parse::<StoreAddress>().expect_err(bad).to_string();
            assert!(error.contains("redis://") && !error.contains("secret"), "{bad}: {error}");
        }
    }
}
