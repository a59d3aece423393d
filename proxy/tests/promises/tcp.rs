//! TCP listeners.

use tidegate_xds::resource::cluster::UpstreamProtocol::Http1;

use crate::backend::{nobody, scripted};
use crate::client::Client;
use crate::resources::{cluster, of_cluster, of_listener, proxy_with, tcp_listener};

#[tokio::test]
async fn the_server_may_speak_first() {
    let backend = scripted(|mut connection| async move {
        connection.say("220 ready\r\n").await;
        assert_eq!(connection.bytes(6).await, b"QUIT\r\n");
        connection.say("221 bye\r\n").await;
    })
    .await;
    let (_proxy, address) =
        proxy_with(vec![of_cluster(cluster("mail", Http1, &[backend])), of_listener(tcp_listener("in", "mail"))]).await;
    let mut client = Client::connect(address).await;

    client.expect(b"220 ready\r\n").await;
    client.send("QUIT\r\n").await;
    client.expect(b"221 bye\r\n").await;
    client.closed().await;
}

#[tokio::test]
async fn a_direction_that_is_closed_leaves_the_other_open() {
    let backend = scripted(|mut connection| async move {
        assert_eq!(connection.bytes(7).await, b"request");
        assert!(connection.ended().await);
        connection.say("answer after your end").await;
    })
    .await;
    let (_proxy, address) =
        proxy_with(vec![of_cluster(cluster("c", Http1, &[backend])), of_listener(tcp_listener("in", "c"))]).await;
    let mut client = Client::connect(address).await;

    client.send("request").await;
    client.shutdown().await;

    assert_eq!(client.rest().await, b"answer after your end");
}

#[tokio::test]
async fn megabytes_pass_and_stop_when_the_reader_stops() {
    let size = 8 * 1024 * 1024;
    let backend = scripted(move |mut connection| async move {
        let all = connection.bytes(size).await;
        connection.say(all).await;
    })
    .await;
    let (_proxy, address) =
        proxy_with(vec![of_cluster(cluster("c", Http1, &[backend])), of_listener(tcp_listener("in", "c"))]).await;
    let mut client = Client::connect(address).await;

    client.send(vec![7; size]).await;
    client.shutdown().await;

    let back = client.rest().await;
    assert!(back.len() == size && back.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn a_connection_that_leads_nowhere_is_closed() {
    let (_proxy, address) =
        proxy_with(vec![of_cluster(cluster("c", Http1, &[nobody().await])), of_listener(tcp_listener("in", "c"))])
            .await;

    Client::connect(address).await.closed().await;
}
