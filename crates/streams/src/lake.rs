//! The lake: Parquet files in a folder, in S3 or whatever speaks its language, in GCS or Azure.
//!
//! * Place: `auctions/date=2026-06-07/hour=12/INSTANCE-CORE-SEGMENT-FROM-TO.parquet`, by the time of the auctions (UTC),
//!   and the same for `bids`. A batch is an object of each table and hour.
//! * Once: an object is named after the bounds of its batch, and a batch that comes again has the same: it overwrites
//!   itself ([ADR 18](../../../docs/adr/0018-batches-that-come-again.md)).
//! * An object is there whole or not at all; a folder's is on disk before it has its name.

use crate::flat::Flat;
use crate::parquet::Table;
use crate::{Batch, Event, Sink};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, ObjectStoreScheme, RetryConfig};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;
use time::OffsetDateTime;
use url::Url;

/// For a connection to open.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const SCHEMES: &str =
    "it takes file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";
const HOUR_US: u64 = 3_600_000_000;

/// Where the lake is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`, or `az://container/prefix`.
    pub url: Url,
    /// The store's own options, by the names that its clouds give them in the environment: `aws_endpoint`,
    /// `google_service_account`, `azure_storage_account_name`. A later one wins over an earlier one.
    pub options: Vec<(String, String)>,
}

/// The sink.
pub struct Lake {
    store: Box<dyn ObjectStore>,
    prefix: Path,
    flat: Flat,
    /// By the hour since 1970.
    hours: BTreeMap<u64, Tables>,
    /// Those of an hour before, whose memory is used again.
    spare: Option<Tables>,
    /// What is left to put of the batch at hand, once it is asked for.
    objects: Option<Vec<(Path, Bytes)>>,
}

struct Tables {
    auctions: Table<Vec<u8>>,
    bids: Table<Vec<u8>>,
}

impl Lake {
    /// Opens it, without asking anybody; a folder is made if need be.
    pub fn open(settings: &Settings) -> Result<Self> {
        let (store, prefix) = store(settings).with_context(|| format!("lake.url: {}", settings.url))?;
        Ok(Self { store, prefix, flat: Flat::default(), hours: BTreeMap::new(), spare: None, objects: None })
    }

    /// The batch as objects, in the order that they are put in.
    fn finish(&mut self, batch: &Batch) -> Result<Vec<(Path, Bytes)>> {
        let Batch { instance, core, segment, from, to, .. } = batch;
        // What could not be finished once was taken; nothing must not pass for it.
        ensure!(
            !self.hours.is_empty(),
            "a batch that could not be written as Parquet is lost: restart, to read it again"
        );
        let name = format!("{instance:016x}-{core}-{segment}-{from}-{to}.parquet");
        let mut objects = Vec::new();
        for (hour, mut tables) in std::mem::take(&mut self.hours) {
            let at = OffsetDateTime::from_unix_timestamp(hour as i64 * 3600).context("no such hour")?;
            let parts = [
                format!("date={:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day()),
                format!("hour={:02}", at.hour()),
                name.clone(),
            ];
            for (table, file) in [("auctions", &mut tables.auctions), ("bids", &mut tables.bids)] {
                let path = [table.to_owned()].into_iter().chain(parts.iter().cloned());
                let path = path.fold(self.prefix.clone(), |path, part| path.join(part));
                objects.push((path, Bytes::from(file.finish_and_begin(Vec::new())?)));
            }
            self.spare = Some(tables);
        }
        Ok(objects)
    }
}

impl Sink for Lake {
    const REPEATS: bool = true;

    fn add(&mut self, event: &Event<'_>) -> Result<()> {
        let hour = event.record.received_at_us / HOUR_US;
        let tables = match self.hours.entry(hour) {
            Entry::Occupied(tables) => tables.into_mut(),
            Entry::Vacant(place) => place.insert(match self.spare.take() {
                Some(spare) => spare,
                None => Tables { auctions: Table::auctions(Vec::new())?, bids: Table::bids(Vec::new())? },
            }),
        };
        self.flat.auction(event, &mut tables.auctions);
        self.flat.bids(event, &mut tables.bids);
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch) -> Result<()> {
        if self.objects.is_none() {
            self.objects = Some(self.finish(batch)?);
        }
        Ok(())
    }

    async fn deliver(&mut self, _: &Batch) -> Result<()> {
        let objects = self.objects.as_mut().context("a batch is delivered that was not prepared")?;
        while let Some((path, bytes)) = objects.first() {
            let put = self.store.put(path, bytes.clone().into()).await;
            put.with_context(|| format!("cannot put {path} into the lake"))?;
            objects.remove(0);
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.hours.clear();
        self.objects = None;
    }
}

fn store(settings: &Settings) -> Result<(Box<dyn ObjectStore>, Path)> {
    let Ok((scheme, prefix)) = ObjectStoreScheme::parse(&settings.url) else { bail!(SCHEMES) };
    // The stream tries again for as long as it takes.
    let retry = RetryConfig { max_retries: 1, ..RetryConfig::default() };
    let client = ClientOptions::new().with_connect_timeout(CONNECT_MAX).with_allow_http(true);
    // Another part of the program may have chosen the same already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = settings.url.as_str();
    macro_rules! cloud {
        ($builder:ty) => {{
            let mut builder = <$builder>::new().with_url(url).with_retry(retry).with_client_options(client);
            for (name, value) in &settings.options {
                // A name that it does not know is another's.
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            Box::new(builder.build()?) as Box<dyn ObjectStore>
        }};
    }
    let store = match scheme {
        ObjectStoreScheme::AmazonS3 => cloud!(AmazonS3Builder),
        ObjectStoreScheme::GoogleCloudStorage => cloud!(GoogleCloudStorageBuilder),
        ObjectStoreScheme::MicrosoftAzure => cloud!(MicrosoftAzureBuilder),
        ObjectStoreScheme::Local => {
            let Ok(folder) = settings.url.to_file_path() else { bail!("it names no folder") };
            let failed = || format!("cannot make {}", folder.display());
            std::fs::create_dir_all(&folder).with_context(failed)?;
            let store = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
            return Ok((Box::new(store), Path::default()));
        }
        _ => bail!(SCHEMES),
    };
    Ok((store, prefix))
}
