//! Other people's programs: what a node must get on with.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::process::Process;
use super::{ports, wait_until};

/// nginx with its RTMP module, one app `live`, on a port of its own.
#[derive(Debug)]
pub struct Nginx {
    /// Its process.
    pub process: Process,
    /// RTMP listener.
    pub rtmp: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it; `directives` are put into the application.
    pub async fn start(directives: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let rtmp = ports::free()?;
        let path = folder.path().display();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\n\
             load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\n\
             events {{ worker_connections 512; }}\n\
             rtmp {{ server {{ listen {rtmp}; chunk_size 4096; application live {{ live on; {directives} }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config)?;
        let args = ["-p", &path.to_string(), "-c", &file.display().to_string()].map(str::to_owned);
        let process = Process::start("nginx", Path::new("/usr/sbin/nginx"), &args)?;
        wait_until(Duration::from_secs(5), "nginx listens", || async {
            TcpStream::connect(rtmp)
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await?;
        Ok(Self {
            process,
            rtmp,
            _folder: folder,
        })
    }

    /// `rtmp://…/live/{stream}`.
    pub fn rtmp_url(&self, stream: &str) -> String {
        format!("rtmp://{}/live/{stream}", self.rtmp)
    }
}
