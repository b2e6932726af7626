//! The client against a server that is scripted message by message.

use rtmp_rs::protocol::constants::{MSG_ACKNOWLEDGEMENT, MSG_USER_CONTROL};
use tokio::net::TcpListener;

use super::*;

/// A server that has shaken hands and answered `connect`, and `createStream` with `stream_id`.
async fn scripted(stream_id: u32) -> (RtmpUrl, impl Future<Output = Connection>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtmp://{}/live/cam1", listener.local_addr().unwrap());
    let server = async move {
        let mut io = listener.accept().await.unwrap().0;
        let mut rest = BytesMut::new();
        handshake::accept(&mut io, &mut rest).await.unwrap();
        let mut connection = Connection::new(io, &rest);
        connection.send(&connection::opening()).await.unwrap();
        for _ in 0..2 {
            let asked = hear(&mut connection).await.1;
            let info = AmfValue::Number(f64::from(stream_id));
            let answer = Command::result(asked.transaction_id, AmfValue::Null, info);
            connection.send(&command::encode_command(answer)).await.unwrap();
        }
        connection
    };
    (url.parse().unwrap(), server)
}

/// The next command, and the message stream that it came on.
async fn hear(connection: &mut Connection) -> (u32, Command) {
    loop {
        let message = connection.next().await.unwrap();
        if let Some(command) = command::decode(&message).unwrap() {
            return (message.stream_id, command);
        }
    }
}

/// rtmp-rs published on message stream 0.
#[tokio::test]
async fn fault_4_publish_goes_on_the_stream_that_the_server_gave() {
    let (url, server) = scripted(7).await;
    let client = async {
        let mut client = Client::connect(&url, false).await.unwrap();
        client.publish("cam1?key=k").await.unwrap();
        client.unpublish("cam1").await;
    };
    let server = async {
        let mut connection = server.await;
        let mut heard = Vec::new();
        for _ in 0..3 {
            let (stream, command) = hear(&mut connection).await;
            heard.push((
                stream,
                command.name,
                command.arguments[0].as_str().unwrap_or_default().to_owned(),
            ));
        }
        let expected = [(0, "releaseStream"), (0, "FCPublish"), (7, "publish")];
        assert_eq!(
            heard,
            expected.map(|(stream, name)| (stream, name.to_owned(), "cam1?key=k".to_owned()))
        );
        // A courtesy that is declined is no refusal.
        let declined = Command::error(3.0, AmfValue::Null, AmfValue::Null);
        connection.send(&command::encode_command(declined)).await.unwrap();
        let status = command::status(7, "status", "NetStream.Publish.Start", "go");
        connection.send(&status).await.unwrap();
        let (_, unpublish) = hear(&mut connection).await;
        let (_, delete) = hear(&mut connection).await;
        assert_eq!(
            (unpublish.name.as_str(), delete.name.as_str()),
            ("FCUnpublish", "deleteStream")
        );
        assert_eq!(delete.arguments[0].as_number(), Some(7.0));
    };
    tokio::join!(client, server);
}

/// rtmp-rs's puller neither acknowledged nor answered pings.
#[tokio::test]
async fn fault_3_a_player_acknowledges_and_answers_pings() {
    let (url, server) = scripted(1).await;
    let client = async {
        let mut client = Client::connect(&url, true).await.unwrap();
        client.play("cam1").await.unwrap();
        let error = client.next().await.unwrap_err();
        assert!(matches!(error, ClientError::Connection { .. }), "{error}");
    };
    let server = async {
        let mut connection = server.await;
        hear(&mut connection).await;
        let mut out = command::play_started().to_vec();
        out.extend(command::encode(&RtmpMessage::WindowAckSize(2_000), CHUNK_SIZE));
        out.extend(command::event(UserControlEvent::PingRequest(9)));
        connection.send(&out).await.unwrap();
        connection
            .send(&command::status(
                1,
                "status",
                "NetStream.Data.Start",
                &"x".repeat(3_000),
            ))
            .await
            .unwrap();
        // The connection's own control takes acknowledgements in, so the socket is read here.
        let (mut io, _) = connection.into_parts();
        let mut reader = crate::rtmp::chunk_reader::ChunkReader::new(crate::rtmp::chunk_reader::Limits::COMMANDS);
        reader.input().extend_from_slice(&connection::opening());
        let (mut acknowledged, mut answered) = (false, false);
        while !(acknowledged && answered) {
            tokio::io::AsyncReadExt::read_buf(&mut io, reader.input())
                .await
                .unwrap();
            while let Some(message) = reader.next().unwrap() {
                acknowledged |= message.type_id == MSG_ACKNOWLEDGEMENT;
                answered |= message.type_id == MSG_USER_CONTROL && message.body[..] == [0, 7, 0, 0, 0, 9];
            }
        }
    };
    let both = Box::pin(async { tokio::join!(client, server) });
    timeout(Duration::from_secs(10), both).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: RtmpUrl = format!("rtmp://{}/live/cam1", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let begun = Instant::now();
    let error = Client::connect(&url, false).await.unwrap_err();
    assert!(error.to_string().contains("handshake took longer"), "{error}");
    assert!(begun.elapsed() <= Duration::from_secs(6));
}
