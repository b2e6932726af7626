//! `report`: what a bug report needs, as a zip. No Secret is asked for, and [`redact`] takes out what others may hold.
//!
//! ```text
//! gather (lists, logs; what fails is told in about.txt) ─▶ redact ─▶ Files ─▶ zip
//! ```

mod gather;
mod redact;

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;
use zip::write::SimpleFileOptions;

use super::look::Look;
use crate::args::plugin::ReportArgs;

/// Texts by their path in the archive.
pub(super) type Files = BTreeMap<String, String>;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum Error {
    /// The archive can't be made.
    #[error("failed to make the archive")]
    Zip(#[from] zip::result::ZipError),
    /// A file can't be put into it.
    #[error("failed to write into the archive")]
    Entry(#[source] std::io::Error),
    /// The archive can't be written.
    #[error("failed to write {0}; name another file with --file")]
    File(PathBuf, #[source] std::io::Error),
}

/// Writes the report, and says what it holds.
///
/// # Errors
/// [`Error`]; what can't be read of the cluster is none, it is told in the report.
pub async fn run(look: &Look, args: ReportArgs) -> Result<(), Error> {
    let now = Timestamp::now();
    let report = gather::gather(look, &args.operator_namespace, now).await;
    let path = args
        .file
        .unwrap_or_else(|| PathBuf::from(format!("headwater-report-{}.zip", now.strftime("%Y%m%d-%H%M%S"))));
    write(&path, &archive(&report.files)?).map_err(|error| Error::File(path.clone(), error))?;
    println!(
        "{} holds {} files of {}; Secrets, keys and the addresses of pulls and pushes are left out. Read it before you send it.",
        path.display(),
        report.files.len(),
        look.place()
    );
    for failed in &report.failed {
        println!("left out: {failed}");
    }
    Ok(())
}

/// The archive, in memory: its size is bounded by what is gathered.
fn archive(files: &Files) -> Result<Vec<u8>, Error> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (path, text) in files {
        zip.start_file(format!("headwater-report/{path}"), options)?;
        zip.write_all(text.as_bytes()).map_err(Error::Entry)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// For its owner's eyes alone: what is in it is about a cluster.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_goes_into_the_archive_comes_out_of_it() {
        let files: Files = [
            ("a.txt".to_owned(), "one".to_owned()),
            ("b/c.yaml".to_owned(), "two: 2\n".repeat(1000)),
        ]
        .into();
        let bytes = archive(&files).unwrap();
        assert!(bytes.len() < 2000, "it is compressed: {}", bytes.len());
        let mut read = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        for (path, text) in &files {
            let mut found = String::new();
            let mut entry = read.by_name(&format!("headwater-report/{path}")).unwrap();
            entry.read_to_string(&mut found).unwrap();
            assert_eq!(&found, text);
        }
    }

    #[test]
    fn a_report_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.zip");
        write(&path, b"x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write(&folder.path().join("none/r.zip"), b"x").is_err());
    }
}
