//! The name of a repository in an object store, as restic spells it.

use std::{collections::BTreeMap, fmt};

use object_store::path::Path;

/// Who keeps the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Service {
    /// Amazon, or a server that speaks its language.
    S3 {
        /// With the scheme.
        endpoint: String,
        /// Where no variable names one.
        region: String,
    },
    Google,
    Azure,
}

/// Variables that restic reads.
const VARIABLES: [&str; 10] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_ACCESS_TOKEN",
    "AZURE_ACCOUNT_NAME",
    "AZURE_ACCOUNT_KEY",
    "AZURE_ACCOUNT_SAS",
    "AZURE_ENDPOINT_SUFFIX",
];

/// Region of servers that have none.
const REGION: &str = "us-east-1";

/// A folder in a bucket, and what opens it; only its name is shown.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) struct ObjectUrl {
    text: String,
    service: Service,
    bucket: String,
    folder: Path,
    variables: BTreeMap<&'static str, String>,
}

impl ObjectUrl {
    /// `s3:https://host/bucket/path`, `s3:host/bucket/path`, `gs:bucket:/path` or `azure:container:/path`; `None` if it
    /// names no object store, an error says what is wrong. The credentials are among the variables.
    pub(in super::super) fn parse(
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Option<Result<ObjectUrl, String>> {
        let (service, bucket, folder) = if let Some(rest) = text.strip_prefix("s3:") {
            let (scheme, rest) = match (rest.strip_prefix("http://"), rest.strip_prefix("https://")) {
                (Some(rest), _) => ("http", rest),
                (None, Some(rest)) => ("https", rest),
                (None, None) => ("https", rest.strip_prefix("//").unwrap_or(rest)),
            };
            let (host, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
            if host.is_empty() {
                return Some(Err("has no host: name it s3:https://HOST/BUCKET/PATH".to_owned()));
            }
            let service = Service::S3 {
                endpoint: format!("{scheme}://{host}"),
                region: region(host).to_owned(),
            };
            (service, bucket, folder)
        } else if let Some(rest) = text.strip_prefix("gs:") {
            let (bucket, folder) = rest.split_once(':').unwrap_or((rest, ""));
            (Service::Google, bucket, folder)
        } else if let Some(rest) = text.strip_prefix("azure:") {
            let (container, folder) = rest.split_once(':').unwrap_or((rest, ""));
            (Service::Azure, container, folder)
        } else {
            return None;
        };
        if bucket.is_empty() {
            return Some(Err("has no bucket".to_owned()));
        }
        let folder = match Path::parse(folder.trim_matches('/')) {
            Ok(folder) => folder,
            Err(error) => return Some(Err(error.to_string())),
        };
        let variables = VARIABLES.into_iter();
        Some(Ok(ObjectUrl {
            text: text.to_owned(),
            service,
            bucket: bucket.to_owned(),
            folder,
            variables: variables.filter_map(|name| Some((name, variable(name)?))).collect(),
        }))
    }

    pub(super) fn service(&self) -> &Service {
        &self.service
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn variable(&self, name: &str) -> Option<&String> {
        self.variables.get(name)
    }

    /// The folder; `None` if it is the whole bucket.
    pub(super) fn folder(&self) -> Option<&Path> {
        Some(&self.folder).filter(|folder| !folder.as_ref().is_empty())
    }

    /// An object or folder in it; the name consists of letters, digits, points, hyphens and slashes.
    pub(super) fn object(&self, name: &str) -> Path {
        self.folder.parts().chain(Path::from(name).parts()).collect()
    }
}

/// The region in a host of Amazon, such as `s3.eu-central-1.amazonaws.com`.
fn region(host: &str) -> &str {
    let inner = host
        .strip_suffix(".amazonaws.com")
        .and_then(|rest| rest.strip_prefix("s3."));
    inner.unwrap_or(REGION)
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectUrl({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Result<ObjectUrl, String>> {
        ObjectUrl::parse(text, &|name| {
            (name == "AWS_SECRET_ACCESS_KEY").then(|| "hidden".to_owned())
        })
    }

    #[test]
    fn names_are_spelled_as_for_restic() {
        let s3 = |endpoint: &str, region: &str| Service::S3 {
            endpoint: endpoint.to_owned(),
            region: region.to_owned(),
        };
        for (text, service, bucket, config) in [
            (
                "s3:https://h:9000/b/a/c",
                s3("https://h:9000", REGION),
                "b",
                "a/c/config",
            ),
            ("s3:http://h/b", s3("http://h", REGION), "b", "config"),
            (
                "s3:s3.eu-west-3.amazonaws.com/b/a/",
                s3("https://s3.eu-west-3.amazonaws.com", "eu-west-3"),
                "b",
                "a/config",
            ),
            (
                "s3://s3.amazonaws.com/b",
                s3("https://s3.amazonaws.com", REGION),
                "b",
                "config",
            ),
            ("gs:b:/a", Service::Google, "b", "a/config"),
            ("gs:b:/", Service::Google, "b", "config"),
            ("azure:b:/a/c", Service::Azure, "b", "a/c/config"),
        ] {
            let url = parsed(text).unwrap().unwrap();
            assert_eq!((&url.service, url.bucket()), (&service, bucket), "{text}");
            assert_eq!(url.object("config").as_ref(), config, "{text}");
            assert_eq!(url.to_string(), text);
        }
        for text in [
            "s3:",
            "s3:https://h",
            "s3:https:///b",
            "gs:",
            "azure::/a",
            "s3:h/b/a//c",
        ] {
            assert!(parsed(text).unwrap().is_err(), "{text}");
        }
        assert!(parsed("/mnt/repository").is_none());
    }

    #[test]
    fn secrets_are_not_shown() {
        let url = parsed("s3:h/b").unwrap().unwrap();
        assert_eq!(url.variable("AWS_SECRET_ACCESS_KEY").unwrap(), "hidden");
        assert!(!format!("{url:?}").contains("hidden"));
    }
}
