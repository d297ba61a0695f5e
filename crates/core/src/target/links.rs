//! What is changed in place must lie in the target itself: through a link in it, something else would be written.

use crate::manifest::files;
use crate::{Error, ErrorKind, error::Setting};
use neo4j_format::DirHandle;

/// Refuses a directory that holds, in whatever folder, anything but folders and regular files.
///
/// # Errors
/// Of kind [`ErrorKind::Configuration`], with the first such name; a folder that cannot be read.
pub(crate) fn refuse(dir: &DirHandle) -> Result<(), Error> {
    let Some(found) = files::list(dir)?.into_iter().find(|found| found.length.is_none()) else {
        return Ok(());
    };
    let text = format!(
        "{}: is a link or a special file, and what lies elsewhere is never written to",
        dir.join(&found.path).display()
    );
    Err(Error::new(ErrorKind::Configuration, text)
        .with_hint("put the file itself there, or take a full backup that replaces this one")
        .see(&[Setting::Overwrite]))
}
