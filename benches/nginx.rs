//! The peer: nginx from its Debian package, set up as well as its documentation knows how.

use crate::fixture::fresh_dir;
use crate::node::{Certificate, free_ports};
use anyhow::{Context as _, Result, bail};
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running nginx.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) http: String,
    pub(crate) https: String,
}

impl Nginx {
    /// Serves the files in `root` with the given certificate, plain and over TLS 1.3.
    pub(crate) fn start(dir: &Path, root: &Path, certificate: &Certificate) -> Result<Self> {
        let server = |ports: [u16; 2]| serving(root, certificate, ports);
        Self::run(&fresh_dir(dir, "nginx")?, server)
    }

    /// Says yes to everything: what is asked by [`Nginx::start_asking`]. A process of its own, so that its work is not
    /// counted for who asks.
    pub(crate) fn start_yes(dir: &Path) -> Result<Self> {
        let server = |[http, https]: [u16; 2]| {
            format!(
                "  server {{\n    listen 127.0.0.1:{http} reuseport;\n    listen 127.0.0.1:{https};\n    return 204;\n  }}\n"
            )
        };
        Self::run(&fresh_dir(dir, "nginx-yes")?, server)
    }

    /// Serves the files in `root` as [`Nginx::start`] does, and the same below `/asked/`, where it asks `yes` before each
    /// answer, over kept connections.
    pub(crate) fn start_asking(dir: &Path, root: &Path, certificate: &Certificate, yes: &Self) -> Result<Self> {
        let address = yes.http.trim_start_matches("http://");
        let files = root.display();
        let server = |ports: [u16; 2]| {
            let asking = format!(
                "    location /asked/ {{\n      auth_request /ask;\n      alias {files}/;\n    }}\n    location = /ask {{\n      \
                 internal;\n      proxy_pass http://yes;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
                 proxy_pass_request_body off;\n      proxy_set_header Content-Length \"\";\n    }}\n"
            );
            let upstream = format!(
                "  upstream yes {{\n    server {address};\n    keepalive 64;\n    keepalive_requests 1000000000;\n  }}\n"
            );
            upstream + &serving(root, certificate, ports).replace("    # plain\n", &asking)
        };
        Self::run(&fresh_dir(dir, "nginx")?, server)
    }

    /// Runs it with what `server` says for two free ports, and waits until it listens.
    fn run(dir: &Path, server: impl FnOnce([u16; 2]) -> String) -> Result<Self> {
        let ports = free_ports()?;
        let [http, https] = ports;
        let config = dir.join("nginx.conf");
        fs::write(&config, config_text(dir, &server(ports)))?;
        let log = File::create(dir.join("output"))?;
        let mut child = Command::new(program())
            .arg("-p")
            .arg(dir)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start nginx: apt-get install nginx-light")?;
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", https)).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("nginx ended with {status}: {}", fs::read_to_string(dir.join("output")).unwrap_or_default());
            }
            if start.elapsed() > Duration::from_secs(20) {
                let _ = child.kill();
                bail!("nginx does not listen");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { child, http: format!("http://127.0.0.1:{http}"), https: format!("https://127.0.0.1:{https}") })
    }

    /// The master process; the workers are its children.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master must end its workers itself, so it gets SIGTERM.
        let ended = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        if !ended.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    ["/usr/sbin/nginx", "/usr/bin/nginx"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| "nginx".into())
}

fn serving(root: &Path, certificate: &Certificate, [http, https]: [u16; 2]) -> String {
    let (cert, key, root) = (certificate.cert.display(), certificate.key.display(), root.display());
    format!(
        "  ssl_certificate {cert};\n  ssl_certificate_key {key};\n  ssl_protocols TLSv1.3;\n  \
         ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;\n  ssl_session_cache shared:a:1m;\n  \
         server {{\n    listen 127.0.0.1:{http} reuseport;\n    root {root};\n    # plain\n  }}\n  \
         server {{\n    listen 127.0.0.1:{https} ssl reuseport;\n    root {root};\n  }}\n"
    )
}

/// A head with a token is larger than the buffer that is usual there.
fn config_text(dir: &Path, servers: &str) -> String {
    let dir = dir.display();
    format!(
        "daemon off;\nuser root;\nworker_processes auto;\npid {dir}/pid;\nerror_log {dir}/error warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  sendfile_max_chunk 0;\n  tcp_nopush on;\n  tcp_nodelay on;\n  \
         keepalive_timeout 75;\n  keepalive_requests 1000000000;\n  open_file_cache max=100;\n  \
         client_header_buffer_size 4k;\n  default_type application/octet-stream;\n  client_body_temp_path {dir}/body;\n  \
         proxy_temp_path {dir}/proxy;\n  fastcgi_temp_path {dir}/fastcgi;\n  uwsgi_temp_path {dir}/uwsgi;\n  \
         scgi_temp_path {dir}/scgi;\n{servers}}}\n"
    )
}
