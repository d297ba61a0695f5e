//! Where a backup comes from.

use std::{fmt, num::NonZeroUsize, ops::Range, str::FromStr};

use super::{HostPort, UriError, UriProblem};

/// What `-from` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `single://host[:port]`, or only `host[:port]`: one server.
    Single {
        /// As in [`HostPort::host`].
        host: String,
        /// The port of its backup service.
        port: u16,
    },
    /// `ha://host[:port],…[/chroot]`: a cluster, found through its coordinators.
    Ha {
        /// The `ZooKeeper` servers, at least one, in the order given.
        coordinators: Vec<HostPort>,
        /// The znode below which everything of this cluster is, beginning with a slash and not ending with one.
        chroot: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Single,
    Ha,
}

impl Scheme {
    fn from_name(name: &str) -> Option<Scheme> {
        [Scheme::Single, Scheme::Ha]
            .into_iter()
            .find(|scheme| name.eq_ignore_ascii_case(scheme.name()))
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Single => "single",
            Scheme::Ha => "ha",
        }
    }
}

impl Source {
    /// Where a server's backup service listens unless told otherwise.
    pub const DEFAULT_BACKUP_PORT: u16 = 6362;
    /// Where `ZooKeeper` listens unless told otherwise.
    pub const DEFAULT_COORDINATOR_PORT: u16 = 2181;

    /// The source that `text` names.
    ///
    /// # Errors
    /// Everything that is not wholly understood, with the bytes it is about.
    pub fn parse(text: &str) -> Result<Source, UriError> {
        let whole = Text(text);
        if text.is_empty() {
            return Err(whole.error(0..0, UriProblem::Empty));
        }
        if let Some((at, character)) = text
            .char_indices()
            .find(|(_, character)| !character.is_ascii_graphic() || *character == '\\')
        {
            let end = at.saturating_add(character.len_utf8());
            return Err(whole.error(at..end, UriProblem::Character(character)));
        }
        let (scheme, rest) = whole.scheme()?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let path = whole.path(rest.strip_prefix(authority).unwrap_or_default())?;
        if let Some((user, _)) = authority.rsplit_once('@') {
            let range = whole.range(user);
            return Err(whole.error(range.start..range.end.saturating_add(1), UriProblem::UserInfo));
        }
        match scheme {
            Scheme::Single => {
                if let Some((_, others)) = authority.split_once(',') {
                    return Err(whole.error(whole.range(others), UriProblem::OneHost));
                }
                let HostPort { host, port } = HostPort::parse(authority, Source::DEFAULT_BACKUP_PORT)
                    .map_err(|problem| whole.member_error(0, authority, problem))?;
                match path {
                    Some(path) => Err(whole.error(whole.range(path), UriProblem::Path)),
                    None => Ok(Source::Single { host, port }),
                }
            }
            Scheme::Ha => {
                let coordinators = authority
                    .split(',')
                    .enumerate()
                    .map(|(index, member)| {
                        HostPort::parse(member, Source::DEFAULT_COORDINATOR_PORT)
                            .map_err(|problem| whole.member_error(index, member, problem))
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                match path {
                    Some(path) if !is_chroot(path) => Err(whole.error(whole.range(path), UriProblem::Chroot)),
                    path => Ok(Source::Ha {
                        coordinators,
                        chroot: path.map(str::to_owned),
                    }),
                }
            }
        }
    }
}

/// The text as it was given; every part that is handed around is a slice of it, so that errors know where it stands.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Scheme and what follows `://`; text without a scheme is a single host.
    fn scheme(self) -> Result<(Scheme, &'a str), UriError> {
        if let Some((name, rest)) = self.0.split_once("://") {
            return match Scheme::from_name(name) {
                Some(scheme) => Ok((scheme, rest)),
                None => Err(self.error(self.range(name), UriProblem::Scheme(name.to_owned()))),
            };
        }
        match self.0.split_once(':') {
            Some((name, _)) if Scheme::from_name(name).is_some() => {
                Err(self.error(0..self.0.len(), UriProblem::Slashes))
            }
            _ => Ok((Scheme::Single, self.0)),
        }
    }

    /// The path in what follows the hosts; a lone slash is none.
    fn path(self, tail: &'a str) -> Result<Option<&'a str>, UriError> {
        let path = tail.split(['?', '#']).next().unwrap_or_default();
        let extra = tail.strip_prefix(path).unwrap_or_default();
        match extra.chars().next() {
            Some('?') => Err(self.error(self.range(extra), UriProblem::Query)),
            Some(_) => Err(self.error(self.range(extra), UriProblem::Fragment)),
            None => Ok(Some(path).filter(|path| !matches!(*path, "" | "/"))),
        }
    }

    /// Where `part`, a slice of this text, stands in it.
    fn range(self, part: &str) -> Range<usize> {
        let start = part.as_ptr().addr().saturating_sub(self.0.as_ptr().addr());
        start..start.saturating_add(part.len())
    }

    fn error(self, range: Range<usize>, problem: UriProblem) -> UriError {
        UriError::new(self.0, range, None, problem)
    }

    fn member_error(self, index: usize, member: &str, problem: UriProblem) -> UriError {
        let number = NonZeroUsize::MIN.saturating_add(index);
        UriError::new(self.0, self.range(member), Some(number), problem)
    }
}

/// `ZooKeeper` refuses paths with empty, `.` and `..` parts.
fn is_chroot(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|names| names.split('/').all(|name| !matches!(name, "" | "." | "..")))
}

impl FromStr for Source {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Source, UriError> {
        Source::parse(text)
    }
}

/// The canonical form: scheme, every port, lower-case names.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Single { host, port } => {
                let member = HostPort {
                    host: host.clone(),
                    port: *port,
                };
                write!(f, "{}://{member}", Scheme::Single.name())
            }
            Source::Ha { coordinators, chroot } => {
                write!(f, "{}://", Scheme::Ha.name())?;
                for (index, member) in coordinators.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{member}")?;
                }
                f.write_str(chroot.as_deref().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_accepted_form_has_one_canonical_form() {
        let table = [
            ("single://192.168.1.34", "single://192.168.1.34:6362"),
            ("single://192.168.1.34:9999", "single://192.168.1.34:9999"),
            ("single://db", "single://db:6362"),
            ("single://db:", "single://db:6362"),
            ("single://db/", "single://db:6362"),
            ("single://db:65535", "single://db:65535"),
            ("single://db:00080", "single://db:80"),
            ("SINGLE://DB.Example.COM:1", "single://db.example.com:1"),
            ("single://db.example.com.", "single://db.example.com.:6362"),
            ("single://my_db-1", "single://my_db-1:6362"),
            ("single://1password", "single://1password:6362"),
            ("single://[::1]", "single://[::1]:6362"),
            ("single://[0:0::1]:7", "single://[::1]:7"),
            ("single://[FE80::A]", "single://[fe80::a]:6362"),
            ("db", "single://db:6362"),
            ("db:6362", "single://db:6362"),
            ("10.0.0.1:9", "single://10.0.0.1:9"),
            ("[::1]:9", "single://[::1]:9"),
            ("singleton:7", "single://singleton:7"),
            ("ha://192.168.1.15:2181", "ha://192.168.1.15:2181"),
            ("ha://h1:2181,h2:2181", "ha://h1:2181,h2:2181"),
            ("ha://h1:2182,h2", "ha://h1:2182,h2:2181"),
            ("ha://h1,h2:2183", "ha://h1:2181,h2:2183"),
            ("ha://[::1]:2181,[::2]:2182", "ha://[::1]:2181,[::2]:2182"),
            ("ha://[::1],[::2]", "ha://[::1]:2181,[::2]:2181"),
            ("Ha://H1/", "ha://h1:2181"),
            ("ha://h1,h2/neo4j", "ha://h1:2181,h2:2181/neo4j"),
            ("ha://h1:1/Neo/a.b", "ha://h1:1/Neo/a.b"),
        ];
        for (text, canonical) in table {
            let source = Source::parse(text).unwrap();
            assert_eq!(source.to_string(), canonical, "{text}");
            assert_eq!(
                Source::parse(canonical).unwrap(),
                source,
                "{canonical} means the same again"
            );
        }
    }

    #[test]
    fn an_ipv6_host_is_kept_without_brackets_for_the_resolver() {
        assert_eq!(
            Source::parse("single://[::1]:7").unwrap(),
            Source::Single {
                host: "::1".into(),
                port: 7
            }
        );
    }

    #[test]
    fn every_refused_form_says_what_is_wrong_and_where() {
        use UriProblem as P;
        let scheme = |name: &str| P::Scheme(name.into());
        // text, carets under it, member number (0: not about a member), problem
        let table = [
            ("", "", 0, P::Empty),
            ("single://", "         ", 1, P::EmptyHost),
            ("single:///", "         ", 1, P::EmptyHost),
            ("single:h", "^^^^^^^^", 0, P::Slashes),
            ("single:/h", "^^^^^^^^^", 0, P::Slashes),
            ("SINGLE:6362", "^^^^^^^^^^^", 0, P::Slashes),
            ("ha:h", "^^^^", 0, P::Slashes),
            ("http://h", "^^^^", 0, scheme("http")),
            ("://h", "", 0, scheme("")),
            ("backup://h:1", "^^^^^^", 0, scheme("backup")),
            ("//h", "", 1, P::EmptyHost),
            (" single://h", "^", 0, P::Character(' ')),
            ("single://h ", "          ^", 0, P::Character(' ')),
            ("single://ho\nst:1", "           ^", 0, P::Character('\n')),
            ("single://h\0", "          ^", 0, P::Character('\0')),
            ("single://h\u{e9}st", "          ^^", 0, P::Character('\u{e9}')),
            ("single://h\\x", "          ^", 0, P::Character('\\')),
            ("single://h%41st", "         ^^^^^^", 1, P::Percent),
            ("single://[fe80::1%25eth0]", "         ^^^^^^^^^^^^^^^^", 1, P::Percent),
            ("single://u:pw@h", "         ^^^^^", 0, P::UserInfo),
            ("single://@h", "         ^", 0, P::UserInfo),
            ("single://h/path", "          ^^^^^", 0, P::Path),
            ("single://h//", "          ^^", 0, P::Path),
            ("single://h?q", "          ^^", 0, P::Query),
            ("single://h/p?q#f", "            ^^^^", 0, P::Query),
            ("single://h#f", "          ^^", 0, P::Fragment),
            ("single://h#f?", "          ^^^", 0, P::Fragment),
            ("single://h:0", "         ^^^", 1, P::Port),
            ("single://h:99999", "         ^^^^^^^", 1, P::Port),
            ("single://h:abc", "         ^^^^^", 1, P::Port),
            ("single://h:-1", "         ^^^^", 1, P::Port),
            ("h:x", "^^^", 1, P::Port),
            ("single://:6362", "         ^^^^^", 1, P::EmptyHost),
            ("single://::1", "         ^^^", 1, P::Colons),
            ("single://h:1:2", "         ^^^^^", 1, P::Colons),
            ("single://[::1", "         ^^^^", 1, P::Ipv6),
            ("single://[h]:1", "         ^^^^^", 1, P::Ipv6),
            ("single://[]", "         ^^", 1, P::Ipv6),
            ("single://256.1.1.1", "         ^^^^^^^^^", 1, P::Ipv4),
            ("single://192.168.1", "         ^^^^^^^^^", 1, P::Ipv4),
            ("single://0x7f.1", "         ^^^^^^", 1, P::Ipv4),
            ("single://0x7f000001", "         ^^^^^^^^^^", 1, P::Ipv4),
            ("single://3232235777", "         ^^^^^^^^^^", 1, P::Ipv4),
            ("single://h|x", "         ^^^", 1, P::HostName),
            ("single://h<x", "         ^^^", 1, P::HostName),
            ("single://h^x", "         ^^^", 1, P::HostName),
            ("single://h*", "         ^^", 1, P::HostName),
            ("single://h..x", "         ^^^^", 1, P::HostName),
            ("single://.", "         ^", 1, P::HostName),
            ("single://h1,h2", "            ^^", 0, P::OneHost),
            ("h1:1,h2:1", "     ^^^^", 0, P::OneHost),
            ("ha://", "     ", 1, P::EmptyHost),
            ("ha://h1,", "        ", 2, P::EmptyHost),
            ("ha://,h1", "     ", 1, P::EmptyHost),
            ("ha://h1,,h2", "        ", 2, P::EmptyHost),
            ("ha://h1:2181,h2:x", "             ^^^^", 2, P::Port),
            ("ha://h1,h2,h3:0,h4:x", "           ^^^^", 3, P::Port),
            ("ha://h1,::1", "        ^^^", 2, P::Colons),
            ("ha://h1/a/", "       ^^^", 0, P::Chroot),
            ("ha://h1/a//b", "       ^^^^^", 0, P::Chroot),
            ("ha://h1/../b", "       ^^^^^", 0, P::Chroot),
            ("ha://h1/.", "       ^^", 0, P::Chroot),
            ("ha://h1/a?b", "         ^^", 0, P::Query),
        ];
        for (text, carets, member, problem) in table {
            let error = Source::parse(text).expect_err(text);
            assert_eq!(error.problem(), &problem, "{text:?}");
            assert_eq!(error.member().map_or(0, NonZeroUsize::get), member, "{text:?}");
            let start = carets.len() - carets.trim_start().len();
            assert_eq!(error.range(), start..carets.len(), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_as_long_as_the_domain_name_system_allows() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert!(Source::parse(&longest).is_ok());
        assert!(Source::parse(&format!("{longest}a")).is_err());
        assert!(Source::parse(&format!("{label}a.b")).is_err());
    }

    #[test]
    fn the_error_text_names_the_member() {
        let error = Source::parse("ha://h1:2181,h2:x").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"invalid source, member 2 ("h2:x"): the port is not a number from 1 to 65535"#
        );
        let error = Source::parse("http://h").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"invalid source "http://h": unknown scheme "http", single and ha are known"#
        );
    }

    proptest! {
        #[test]
        fn any_text_ends_in_a_source_or_a_place_inside_it(text in r"(single://|ha://)?[\[\]:,/?#@%a-z0-9.\PC]{0,24}") {
            match Source::parse(&text) {
                Ok(source) => prop_assert_eq!(Source::parse(&source.to_string()).unwrap(), source),
                Err(error) => prop_assert!(error.uri().get(error.range()).is_some()),
            }
        }
    }
}
