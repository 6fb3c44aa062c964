//! An S3 server of a test's own: SeaweedFS, on free ports, in a directory of its own. It asks for a key and believes
//! only what is signed with it.

use crate::programs::free_port;
use crate::python::program;
use crate::server::eventually;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub(crate) const KEY_ID: &str = "bourse";
pub(crate) const SECRET: &str = "a secret";

/// One server with a bucket named `lake`; killed when dropped.
pub(crate) struct S3 {
    pub(crate) address: SocketAddr,
    filer: u16,
    dir: TempDir,
    process: Child,
}

impl S3 {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = json!({"identities": [{"name": "bourse", "actions": ["Read:lake", "Write:lake", "List:lake"],
            "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}]}]});
        std::fs::write(dir.path().join("keys.json"), keys.to_string()).unwrap();
        let [s3, filer, master, volume] = std::array::from_fn(|_| free_port());
        let mut weed = Command::new(program("weed"));
        weed.args([
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-dir=.",
            "-filer",
            "-s3",
            "-s3.config=keys.json",
        ]);
        weed.args([
            "-volume.max=100",
            "-master.volumeSizeLimitMB=64",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        for (name, port) in [("s3", s3), ("filer", filer), ("master", master), ("volume", volume)] {
            weed.arg(format!("-{name}.port={port}"));
        }
        let log = std::fs::File::create(dir.path().join("weed.log")).unwrap();
        weed.current_dir(&dir).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = weed.spawn().expect("weed");
        let mut server = Self { address: ([127, 0, 0, 1], s3).into(), filer, dir, process };
        let status = |answer: Result<_, ureq::Error>| match answer {
            Ok(_) => 200,
            Err(ureq::Error::StatusCode(status)) => status,
            Err(_) => 0,
        };
        eventually("SeaweedFS answers", || {
            let ended = server.process.try_wait().unwrap();
            assert!(ended.is_none(), "{}", server.log());
            // Who asks without a key is refused.
            status(ureq::get(format!("http://{}/", server.address)).call()) == 403
        });
        let bucket = format!("http://127.0.0.1:{filer}/buckets/lake/");
        eventually("there is a bucket", || [200, 409].contains(&status(ureq::post(&bucket).send_empty())));
        server
    }

    /// Copies what is in the bucket into a folder.
    pub(crate) fn copy(&self, to: &Path) {
        self.copy_folder("/buckets/lake", to);
    }

    fn copy_folder(&self, folder: &str, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        let url = |path: &str| format!("http://127.0.0.1:{}{path}", self.filer);
        let listed = ureq::get(format!("{}/?limit=100000", url(folder))).header("accept", "application/json");
        let text = listed.call().expect("a list").body_mut().read_to_string().expect("text");
        let listed: Value = serde_json::from_str(&text).expect("JSON");
        for entry in listed["Entries"].as_array().into_iter().flatten() {
            let path = entry["FullPath"].as_str().unwrap();
            let to = to.join(path.rsplit('/').next().unwrap());
            if entry["Mode"].as_u64().unwrap() >> 31 == 1 {
                self.copy_folder(path, &to);
            } else {
                let bytes =
                    ureq::get(url(path)).call().expect("a file").body_mut().read_to_vec().expect("bytes");
                std::fs::write(to, bytes).unwrap();
            }
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("weed.log")).unwrap_or_default()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
