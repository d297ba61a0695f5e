//! Whom restored files are given to.

use nix::unistd::{Group, User};

use crate::{Error, ErrorKind, target::restoring::Ids};

/// A user and a group of this machine, as `chown` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub(super) Ids);

impl Owner {
    /// Looks up `USER`, `USER:GROUP` or `:GROUP`, by names or numbers.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Usage`] if one does not exist.
    pub fn find(text: &str) -> Result<Owner, Error> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        let unknown = |what: &str, name: &str| Error::new(ErrorKind::Usage, format!("unknown {what} {name:?}"));
        if user.is_empty() && group.is_empty() {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("{text:?} is not an owner such as neo4j:neo4j"),
            ));
        }
        let user = match user {
            "" => None,
            name => match User::from_name(name) {
                Ok(Some(found)) => Some(found.uid.as_raw()),
                _ => Some(name.parse().map_err(|_| unknown("user", name))?),
            },
        };
        let group = match group {
            "" => None,
            name => match Group::from_name(name) {
                Ok(Some(found)) => Some(found.gid.as_raw()),
                _ => Some(name.parse().map_err(|_| unknown("group", name))?),
            },
        };
        Ok(Owner(Ids { user, group }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found_and_other_words_are_not() {
        let ids = |text| {
            let Owner(Ids { user, group }) = Owner::find(text).unwrap();
            (user, group)
        };
        assert_eq!(ids("root:root"), (Some(0), Some(0)));
        assert_eq!(ids("root"), (Some(0), None));
        assert_eq!(ids(":12"), (None, Some(12)));
        for wrong in ["", ":", "no such user", "root:no such group"] {
            assert_eq!(Owner::find(wrong).unwrap_err().kind(), ErrorKind::Usage, "{wrong}");
        }
    }
}
