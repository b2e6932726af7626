//! Keys and tokens of the test API server.

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

/// DER before the 65 bytes of a public key on P-256 (RFC 5480 section 2).
const PUBLIC: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A fresh key pair that service-account tokens are signed with, as PEM: the private key and the public key.
pub fn pair() -> Result<(String, String)> {
    let random = SystemRandom::new();
    let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let private = EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(|_| anyhow!("failed to make a key"))?;
    let pair = EcdsaKeyPair::from_pkcs8(kind, private.as_ref(), &random);
    let pair = pair.map_err(|error| anyhow!("failed to read the key: {error}"))?;
    let public = [PUBLIC.as_slice(), pair.public_key().as_ref()].concat();
    Ok((pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", &public)))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = String::new();
    for (at, letter) in text.chars().enumerate() {
        if at % 64 == 0 && at > 0 {
            lines.push('\n');
        }
        lines.push(letter);
    }
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

/// A word that nobody guesses.
pub fn token() -> String {
    std::iter::repeat_with(|| char::from(rand::random_range(b'a'..=b'z')))
        .take(32)
        .collect()
}
