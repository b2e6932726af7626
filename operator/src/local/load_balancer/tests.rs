//! The load balancer on real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use super::*;
use crate::fake_node::until;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A server that says its name to each connection, then sends back what it gets.
struct Echo {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(name: u8) -> Echo {
    let (listener, address) = listener().await;
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            connections.spawn(async move {
                let _ = socket.write_all(&[name]).await;
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    Echo { address, served, task }
}

fn target(address: SocketAddr) -> Target {
    Target {
        http: address,
        rtmp: address,
    }
}

async fn balancer(targets: Vec<Target>) -> (LoadBalancer, SocketAddr, SocketAddr) {
    let (http, http_address) = listener().await;
    let (rtmp, rtmp_address) = listener().await;
    let balancer = LoadBalancer::start("web".into(), http, rtmp);
    balancer.set_targets(targets);
    (balancer, http_address, rtmp_address)
}

async fn closed_address() -> SocketAddr {
    listener().await.1
}

#[tokio::test]
async fn connections_go_to_every_ready_edge_and_never_to_another() {
    let (one, two, draining) = (echo(1).await, echo(2).await, echo(3).await);
    let all = vec![target(one.address), target(two.address), target(draining.address)];
    let (balancer, http, rtmp) = balancer(all).await;
    balancer.set_targets(vec![target(one.address), target(two.address)]);
    for address in [http, rtmp] {
        for _ in 0..32 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.read_u8().await.unwrap();
        }
    }
    assert!(one.served.load(Ordering::Relaxed) > 0 && two.served.load(Ordering::Relaxed) > 0);
    assert_eq!(draining.served.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn bytes_pass_whole_both_ways_and_a_half_close_is_handed_on() {
    let edge = echo(1).await;
    let (balancer, http, _) = balancer(vec![target(edge.address)]).await;
    let client = TcpStream::connect(http).await.unwrap();
    let sent: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251) as u8).collect();
    let (mut read, mut write) = client.into_split();
    let bytes = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        write.shutdown().await.unwrap();
        write
    });
    let mut got = Vec::new();
    timeout(Duration::from_secs(30), read.read_to_end(&mut got))
        .await
        .unwrap()
        .unwrap();
    assert!(got[0] == 1 && got[1..] == sent, "{} bytes came back", got.len());
    writer.await.unwrap();
    until(|| (balancer.connections() == 0).then_some(())).await;
}

#[tokio::test]
async fn an_edge_that_does_not_answer_is_passed_over() {
    let edge = echo(1).await;
    let dead = closed_address().await;
    let (_balancer, http, _) = balancer(vec![target(dead), target(edge.address), target(dead)]).await;
    for _ in 0..8 {
        let mut client = TcpStream::connect(http).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn with_no_ready_edge_http_gets_503_and_rtmp_is_closed() {
    let (_balancer, http, rtmp) = balancer(Vec::new()).await;
    let mut client = TcpStream::connect(http).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 1"),
        "{answer}"
    );
    let mut client = TcpStream::connect(rtmp).await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn an_edge_that_dies_takes_its_connections_with_it() {
    let edge = echo(1).await;
    let (balancer, http, _) = balancer(vec![target(edge.address)]).await;
    let mut client = TcpStream::connect(http).await.unwrap();
    client.read_u8().await.unwrap();
    drop(edge);
    let ended = timeout(Duration::from_secs(5), client.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    until(|| (balancer.connections() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_dropped_load_balancer_closes_its_listeners_and_connections() {
    let edge = echo(1).await;
    let (balancer, http, _) = balancer(vec![target(edge.address)]).await;
    let mut client = TcpStream::connect(http).await.unwrap();
    client.read_u8().await.unwrap();
    drop(balancer);
    let ended = timeout(Duration::from_secs(5), client.read(&mut [0; 8])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(http).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "the listener still stands");
    }
}
