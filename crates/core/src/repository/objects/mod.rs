//! A repository in an object store: S3 and what is compatible with it, Google Cloud Storage, Azure.
//!
//! ```text
//! FOLDER/config
//! FOLDER/{keys,index,snapshots}/<id>
//! FOLDER/data/<first two digits of the id>/<id>
//! FOLDER/neo4j-backup.locks/<shared|exclusive>-<random>      see lock
//! ```
//!
//! The store is asked through a runtime of its own, by threads that may wait. A request that fails for a reason that can
//! pass is repeated for some minutes; then the run gives up.

pub(super) mod lock;
mod url;

use std::{
    fmt::{self, Display},
    future::Future,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{
    ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload, Result as StoreResult,
    aws::AmazonS3Builder,
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    path::Path,
};
use rustic_core::{BytesList, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use super::engine::{CONFIG, Health};
use crate::{Error, ErrorKind, runtime::OwnRuntime};

pub(super) use url::{ObjectUrl, Service};

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_mins(1);

/// How long one request may take; a pack has some 32 MiB.
const REQUEST: Duration = Duration::from_mins(10);

/// The objects of a repository; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    runtime: Arc<OwnRuntime>,
    url: ObjectUrl,
    health: Health,
}

/// Why a request gave nothing.
#[derive(Debug)]
enum RequestError {
    Store(object_store::Error),
    Cancelled(Error),
}

impl Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Store(error) => error.fmt(f),
            RequestError::Cancelled(error) => error.fmt(f),
        }
    }
}

impl Bucket {
    /// Prepares to ask the store; sends nothing.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Configuration`] if what there is of credentials and addresses cannot be used.
    pub(super) fn connect(url: &ObjectUrl, health: &Health) -> Result<Bucket, Error> {
        let store = store(url).map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("{url}: {error}"))
                .with_hint("set the variables of the credentials as for restic")
        })?;
        Ok(Bucket {
            store,
            runtime: Arc::new(OwnRuntime::start()?),
            url: url.clone(),
            health: health.clone(),
        })
    }

    /// Whether there is a repository.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(super) fn has_config(&self) -> Result<bool, Error> {
        match self.wait(self.store.head(&self.url.object(CONFIG))) {
            Ok(_) => Ok(true),
            Err(RequestError::Store(object_store::Error::NotFound { .. })) => Ok(false),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Whether there is nothing in the folder.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(super) fn is_empty(&self) -> Result<bool, Error> {
        let first = async { self.store.list(self.url.folder()).next().await.transpose() };
        let first = self.wait(first).map_err(|error| self.error(error))?;
        Ok(first.is_none())
    }

    /// Waits for a request, no longer than to the end of the run.
    fn wait<T>(&self, request: impl Future<Output = StoreResult<T>>) -> Result<T, RequestError> {
        self.runtime.handle().block_on(async {
            tokio::select! {
                done = request => done.map_err(RequestError::Store),
                error = self.health.cancelled() => Err(RequestError::Cancelled(error)),
            }
        })
    }

    fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, RequestError> {
        let folder = self.url.object(folder);
        self.wait(self.store.list(Some(&folder)).try_collect())
    }

    fn error(&self, error: RequestError) -> Error {
        let error = match error {
            RequestError::Cancelled(error) => return error,
            RequestError::Store(error) => error,
        };
        let text = format!("{}: {error}", self.url);
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Error::new(ErrorKind::PermissionDenied, text)
                    .with_hint("set the variables of the credentials as for restic")
            }
            _ => Error::new(ErrorKind::Failed, text),
        }
    }

    fn engine_error(&self, error: &RequestError) -> Box<RusticError> {
        RusticError::new(rustic_core::ErrorKind::Backend, format!("{}: {error}", self.url))
    }

    fn read(&self, request: impl Future<Output = StoreResult<bytes::Bytes>>) -> RusticResult<bytes::Bytes> {
        self.wait(request).map_err(|error| self.engine_error(&error))
    }

    /// After a write that failed there are no others: each would be repeated for minutes.
    fn write<T>(&self, request: impl Future<Output = StoreResult<T>>) -> RusticResult<T> {
        self.wait(request).map_err(|error| {
            if let RequestError::Store(error) = &error {
                self.health.fail(format!("{}: {error}", self.url));
            }
            self.engine_error(&error)
        })
    }

    fn path(&self, kind: FileType, id: &Id) -> Path {
        let id = id.to_hex();
        let id: &str = &id;
        let folder = kind.dirname();
        self.url.object(&match kind {
            FileType::Config => CONFIG.to_owned(),
            FileType::Pack => format!("{folder}/{}/{id}", id.get(..2).unwrap_or_default()),
            _ => format!("{folder}/{id}"),
        })
    }
}

impl ReadBackend for Bucket {
    fn location(&self) -> String {
        self.url.to_string()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let size = |found: &ObjectMeta| u32::try_from(found.size).unwrap_or(u32::MAX);
        if kind == FileType::Config {
            return match self.wait(self.store.head(&self.url.object(CONFIG))) {
                Ok(found) => Ok(vec![(Id::default(), size(&found))]),
                Err(RequestError::Store(object_store::Error::NotFound { .. })) => Ok(Vec::new()),
                Err(error) => Err(self.engine_error(&error)),
            };
        }
        let found = self.list(kind.dirname()).map_err(|error| self.engine_error(&error))?;
        let named = found.iter().filter_map(|found| {
            let id = found.location.filename()?.parse().ok()?;
            Some((id, size(found)))
        });
        Ok(named.collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<bytes::Bytes> {
        let path = self.path(kind, id);
        self.read(async { self.store.get(&path).await?.bytes().await })
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<bytes::Bytes> {
        let range = u64::from(offset)..u64::from(offset) + u64::from(length);
        self.read(self.store.get_range(&self.path(kind, id), range))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.path(kind, id).to_string()
    }
}

impl WriteBackend for Bucket {
    fn create(&self) -> RusticResult<()> {
        // folders come with what is in them
        Ok(())
    }

    fn write_bytes(&self, kind: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let content = PutPayload::from_iter(content.into_vec());
        self.write(self.store.put(&self.path(kind, id), content)).map(drop)
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let path = self.path(kind, id);
        self.write(async {
            match self.store.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                done => done,
            }
        })
    }
}

fn store(url: &ObjectUrl) -> StoreResult<Arc<dyn ObjectStore>> {
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE)
        .with_timeout(REQUEST);
    match url.service() {
        Service::S3 { endpoint, region } => {
            let mut builder = AmazonS3Builder::new()
                .with_client_options(client.with_allow_http(endpoint.starts_with("http://")))
                .with_endpoint(endpoint)
                .with_region(url.variable("AWS_DEFAULT_REGION").unwrap_or(region))
                .with_bucket_name(url.bucket());
            if let Some(id) = url.variable("AWS_ACCESS_KEY_ID") {
                builder = builder.with_access_key_id(id);
            }
            if let Some(key) = url.variable("AWS_SECRET_ACCESS_KEY") {
                builder = builder.with_secret_access_key(key);
            }
            if let Some(token) = url.variable("AWS_SESSION_TOKEN") {
                builder = builder.with_token(token);
            }
            Ok(Arc::new(builder.build()?))
        }
        Service::Google => {
            let mut builder = GoogleCloudStorageBuilder::new()
                .with_client_options(client)
                .with_bucket_name(url.bucket());
            if let Some(file) = url.variable("GOOGLE_APPLICATION_CREDENTIALS") {
                builder = builder.with_application_credentials(file);
            }
            if let Some(token) = url.variable("GOOGLE_ACCESS_TOKEN") {
                builder = builder.with_config(GoogleConfigKey::BearerToken, token);
            }
            Ok(Arc::new(builder.build()?))
        }
        Service::Azure => {
            let mut builder = MicrosoftAzureBuilder::new()
                .with_client_options(client)
                .with_container_name(url.bucket());
            let account = url.variable("AZURE_ACCOUNT_NAME");
            if let Some(account) = account {
                builder = builder.with_account(account);
            }
            if let Some(key) = url.variable("AZURE_ACCOUNT_KEY") {
                builder = builder.with_access_key(key);
            }
            if let Some(signature) = url.variable("AZURE_ACCOUNT_SAS") {
                builder = builder.with_config(AzureConfigKey::SasKey, signature);
            }
            if let (Some(account), Some(suffix)) = (account, url.variable("AZURE_ENDPOINT_SUFFIX")) {
                builder = builder.with_endpoint(format!("https://{account}.blob.{suffix}"));
            }
            Ok(Arc::new(builder.build()?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;

    #[test]
    fn every_service_is_reached_with_the_credentials_that_restic_reads() {
        let connect = |text: &str, variables: &'static [(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let url = ObjectUrl::parse(text, &variable).unwrap().unwrap();
            Bucket::connect(&url, &Health::new(&Cancel::default())).map(drop)
        };
        let keys = &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        connect("s3:https://localhost:9/bucket/path", keys).unwrap();
        connect("gs:bucket:/path", &[("GOOGLE_ACCESS_TOKEN", "token")]).unwrap();
        let account = &[("AZURE_ACCOUNT_NAME", "me"), ("AZURE_ACCOUNT_KEY", "c2VjcmV0")];
        connect("azure:container:/path", account).unwrap();
        let refused = connect("azure:container:/path", &[]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
    }
}
