//! What the admin doors speak: plain on loopback and nowhere else.

use crate::rig::{body_text, certificate, clients, config, get, http1, start_with, tls, write_certificate};
use penstock_edge::listen::Door;
use penstock_edge::listen::tcp::Inherited;
use std::net::TcpListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// systemd passes a socket on loopback and one on all addresses. The first once decided for both, and the admin API was
/// plain text to the whole network.
#[test]
fn each_admin_socket_is_judged_by_its_own_address() {
    let dir = tempfile::tempdir().expect("a directory");
    write_certificate(dir.path(), "one");
    let [inside, outside] =
        ["127.0.0.1:0", "0.0.0.0:0"].map(|address| TcpListener::bind(address).expect("a free port"));
    let [inside_port, outside_port] = [&inside, &outside].map(|socket| socket.local_addr().expect("bound").port());
    let inherited = Inherited::from_iter([(Door::Admin, inside), (Door::Admin, outside)]);
    let _rig = start_with(config(dir.path(), ""), None, inherited);
    clients(async {
        let plain = TcpStream::connect(("127.0.0.1", inside_port)).await.expect("a connection");
        let answer = http1(plain).await.send_request(get("/")).await.expect("an answer");
        assert!(body_text(answer).await.ends_with(" admin http/1.1 0"));

        let mut plain = TcpStream::connect(("127.0.0.1", outside_port)).await.expect("a connection");
        plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let mut answer = Vec::new();
        _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "an answer in plain text");
        let address = ([127, 0, 0, 1], outside_port).into();
        let secured = tls(address, &certificate(dir.path()), &[]).await;
        let answer = http1(secured).await.send_request(get("/")).await.expect("an answer");
        assert!(body_text(answer).await.ends_with(" admin http/1.1 0"));
    });
}
