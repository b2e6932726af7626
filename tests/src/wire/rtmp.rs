//! RTMP as a publisher and a viewer speak it (Adobe RTMP 1.0): chunks walked, commands answered, no socket.

mod chunks;

use std::collections::HashMap;

use rtmp_rs::amf::{self, AmfValue};

use super::{Error, Sink, flv};
use chunks::{Chunks, SET_CHUNK_SIZE, write};

/// Size of C1, C2, S1 and S2, §5.2.3.
pub const HANDSHAKE: usize = 1536;
/// The chunk size that the tools send with.
const SENT_CHUNK: usize = 65_536;

const USER_CONTROL: u8 = 4;
const WINDOW: u8 = 5;
const COMMAND: u8 = 20;

/// C0 and C1: a client's first bytes.
pub fn hello() -> Vec<u8> {
    let mut bytes = vec![0u8; 1 + HANDSHAKE];
    bytes[0] = 3;
    for (index, byte) in bytes.iter_mut().enumerate().skip(9) {
        *byte = (index * 31 % 251) as u8;
    }
    bytes
}

/// Where an RTMP address points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `host:port`.
    pub authority: String,
    /// Application.
    pub app: String,
    /// Stream name with its query.
    pub stream: String,
}

impl std::str::FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let rest = url
            .strip_prefix("rtmp://")
            .ok_or_else(|| anyhow::anyhow!("{url}: not an rtmp:// address"))?;
        let mut parts = rest.splitn(3, '/');
        let (Some(host), Some(app), Some(stream)) = (parts.next(), parts.next(), parts.next()) else {
            anyhow::bail!("{url}: expected rtmp://host[:port]/app/stream");
        };
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self {
            authority: if has_port {
                host.to_owned()
            } else {
                format!("{host}:1935")
            },
            app: app.to_owned(),
            stream: stream.to_owned(),
        })
    }
}

/// What a client wants of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To send a stream.
    Publish,
    /// To watch one.
    Play,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// `connect` is sent.
    Connecting,
    /// `createStream` is sent.
    Creating,
    /// `publish` or `play` is sent.
    Starting,
    /// The server has said yes.
    Running,
}

/// The client's end of a session behind the handshake.
#[derive(Debug)]
pub struct Client {
    goal: Goal,
    target: Target,
    step: Step,
    chunks: Chunks,
    stream_id: u32,
    received: u64,
    acknowledged: u64,
    window: u64,
}

impl Client {
    /// A client whose first commands are put into `out`.
    pub fn new(goal: Goal, target: Target, head_limit: usize, out: &mut Vec<u8>) -> Self {
        write(out, 2, SET_CHUNK_SIZE, 0, 0, &(SENT_CHUNK as u32).to_be_bytes(), 128);
        let text = |s: &str| AmfValue::String(s.to_owned());
        let object = HashMap::from([
            ("app".to_owned(), AmfValue::String(target.app.clone())),
            (
                "tcUrl".to_owned(),
                AmfValue::String(format!("rtmp://{}/{}", target.authority, target.app)),
            ),
            ("flashVer".to_owned(), text("headwater-bench")),
            ("fpad".to_owned(), AmfValue::Boolean(false)),
            ("capabilities".to_owned(), AmfValue::Number(15.0)),
            ("audioCodecs".to_owned(), AmfValue::Number(4071.0)),
            ("videoCodecs".to_owned(), AmfValue::Number(252.0)),
            ("type".to_owned(), text("nonprivate")),
        ]);
        command(
            out,
            0,
            &[text("connect"), AmfValue::Number(1.0), AmfValue::Object(object)],
        );
        let chunks = Chunks::new(head_limit);
        Self {
            goal,
            target,
            step: Step::Connecting,
            chunks,
            stream_id: 0,
            received: 0,
            acknowledged: 0,
            window: 2_500_000,
        }
    }

    /// True once the server has accepted `publish` or `play`.
    pub fn running(&self) -> bool {
        self.step == Step::Running
    }

    /// Writes one tag as a message; only once [`Client::running`].
    pub fn send(&self, kind: u8, dts_ms: u32, body: &[u8], out: &mut Vec<u8>) {
        let csid = match kind {
            flv::AUDIO => 4,
            flv::VIDEO => 6,
            _ => 5,
        };
        write(out, csid, kind, dts_ms, self.stream_id, body, SENT_CHUNK);
    }

    /// Writes the commands that end a publication.
    pub fn unpublish(&self, out: &mut Vec<u8>) {
        let (null, name) = (AmfValue::Null, AmfValue::String(self.target.stream.clone()));
        command(
            out,
            0,
            &[
                AmfValue::String("FCUnpublish".into()),
                AmfValue::Number(6.0),
                null.clone(),
                name,
            ],
        );
        let id = AmfValue::Number(f64::from(self.stream_id));
        command(
            out,
            0,
            &[AmfValue::String("deleteStream".into()), AmfValue::Number(7.0), null, id],
        );
    }

    /// Takes bytes as they come; what is to be sent is put into `out`.
    pub fn feed(&mut self, data: &[u8], out: &mut Vec<u8>, sink: &mut dyn Sink) -> Result<(), Error> {
        self.received += data.len() as u64;
        if self.received - self.acknowledged >= self.window / 2 {
            self.acknowledged = self.received;
            write(out, 2, 3, 0, 0, &(self.received as u32).to_be_bytes(), SENT_CHUNK);
        }
        let mut chunks = std::mem::replace(&mut self.chunks, Chunks::new(0));
        let result = chunks.feed(data, sink, &mut |kind, body| self.control(kind, body, out));
        self.chunks = chunks;
        result
    }

    fn control(&mut self, kind: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let word = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
        match kind {
            WINDOW => self.window = u64::from(word(0).unwrap_or(0)).max(1024),
            // Ping request, §7.1.7: answered with the same time.
            USER_CONTROL if body.starts_with(&[0, 6]) && body.len() >= 6 => {
                write(out, 2, USER_CONTROL, 0, 0, &[&[0, 7], &body[2..6]].concat(), SENT_CHUNK);
            }
            COMMAND => return self.command(body, out),
            _ => {}
        }
        Ok(())
    }

    fn command(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let values = amf::amf0::decode_all(body).map_err(|_| Error::Malformed("AMF0 command"))?;
        let name = values.first().and_then(AmfValue::as_str).unwrap_or_default();
        let transaction = values.get(1).and_then(AmfValue::as_number);
        let info = values.get(3);
        let code = info.and_then(|v| v.get_string("code")).unwrap_or_default();
        match (name, self.step) {
            // An error to releaseStream or FCPublish means nothing.
            ("_error", _) if matches!(transaction, Some(1.0 | 4.0 | 5.0)) => {
                return Err(Error::Refused(code.to_owned()));
            }
            ("_result", Step::Connecting) => {
                self.step = Step::Creating;
                self.create(out);
            }
            ("_result", Step::Creating) if transaction == Some(4.0) => {
                self.step = Step::Starting;
                self.stream_id = info.and_then(AmfValue::as_number).unwrap_or(1.0) as u32;
                self.start(out);
            }
            ("onStatus", _) => match code {
                "NetStream.Play.Start" | "NetStream.Publish.Start" => self.step = Step::Running,
                "NetStream.Play.UnpublishNotify" | "NetStream.Play.Stop" | "NetStream.Play.Complete" => {
                    return Err(Error::Ended);
                }
                _ if info.and_then(|v| v.get_string("level")) == Some("error") => {
                    return Err(Error::Refused(code.to_owned()));
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn create(&self, out: &mut Vec<u8>) {
        if self.goal == Goal::Publish {
            for (name, id) in [("releaseStream", 2.0), ("FCPublish", 3.0)] {
                let stream = AmfValue::String(self.target.stream.clone());
                command(
                    out,
                    0,
                    &[
                        AmfValue::String(name.into()),
                        AmfValue::Number(id),
                        AmfValue::Null,
                        stream,
                    ],
                );
            }
        }
        command(
            out,
            0,
            &[
                AmfValue::String("createStream".into()),
                AmfValue::Number(4.0),
                AmfValue::Null,
            ],
        );
    }

    fn start(&self, out: &mut Vec<u8>) {
        let stream = AmfValue::String(self.target.stream.clone());
        let (name, last) = match self.goal {
            Goal::Publish => ("publish", AmfValue::String("live".into())),
            // -2: live, else recorded, §7.2.2.1.
            Goal::Play => ("play", AmfValue::Number(-2000.0)),
        };
        let values = [
            AmfValue::String(name.into()),
            AmfValue::Number(5.0),
            AmfValue::Null,
            stream,
            last,
        ];
        command(out, self.stream_id, &values);
    }
}

fn command(out: &mut Vec<u8>, stream_id: u32, values: &[AmfValue]) {
    write(
        out,
        3,
        COMMAND,
        0,
        stream_id,
        &amf::amf0::encode_all(values),
        SENT_CHUNK,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let target: Target = "rtmp://127.0.0.1:1936/live/cam1?key=x/y".parse().unwrap();
        assert_eq!(
            (target.authority.as_str(), target.app.as_str(), target.stream.as_str()),
            ("127.0.0.1:1936", "live", "cam1?key=x/y")
        );
        assert_eq!("rtmp://host/live/a".parse::<Target>().unwrap().authority, "host:1935");
        assert!("http://host/live/a".parse::<Target>().is_err());
        assert!("rtmp://host/live".parse::<Target>().is_err());
    }
}
