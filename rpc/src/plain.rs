//! Callers that speak no TLS to a port where only TLS is spoken: they are told so, as they would be told other things.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{
    farewell,
    handshake::{self, OPENING},
};

/// What an HTTP client is told.
const BODY: &str =
    r#"{"errors":["this port speaks HTTPS: call it by `https://`, with `security.ssl.ca`"],"code":"https"}"#;

/// Tells a caller, whose first byte is known, that it must speak TLS; ends the connection.
pub async fn turn_away<S>(stream: &mut S, first: u8) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut read = vec![first];
    while read.len() < OPENING.len() && OPENING.starts_with(&read) {
        read.push(stream.read_u8().await?);
    }
    if read == OPENING {
        return handshake::refuse_plain(stream).await;
    }
    let length = BODY.len();
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n";
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{BODY}").as_bytes()).await?;
    farewell::end(stream).await
}
