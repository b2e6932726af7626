//! What the player page has of others is what its README says, byte for byte.

use std::io::Read as _;

use flate2::read::GzDecoder;
use ring::digest;

use crate::root;

const HLS_VERSION: &str = "1.7.4";
const HLS_SHA256: &str = "5501f1d9091b6f749e0ef61aff4b9ea3ba13fd5fa5e2aefb6fc0ff871847a531";

#[test]
fn the_players_hls_js_is_the_pinned_one_with_its_licence_beside_it() {
    let folder = root().join("media-node/src/deliver/page/vendor");
    let packed = std::fs::read(folder.join("hls.min.mjs.gz")).unwrap();
    let mut file = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut file).unwrap();
    let sum: String = digest::digest(&digest::SHA256, &file)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(sum, HLS_SHA256);
    let text = String::from_utf8_lossy(&file);
    assert!(
        text.contains(&format!("\"{HLS_VERSION}\"")),
        "the file does not call itself {HLS_VERSION}"
    );

    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for said in [HLS_VERSION, HLS_SHA256, "Apache-2.0"] {
        assert!(readme.contains(said), "the README does not say {said}");
    }
    let licence = std::fs::read_to_string(folder.join("hls.LICENSE")).unwrap();
    assert!(licence.contains("Apache License, Version 2.0") && licence.contains("Dailymotion"));
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    assert!(
        deny.contains("\"Apache-2.0\""),
        "its licence is not one of those that are allowed"
    );
    let kept: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(kept.len(), 3, "a file that nobody vouches for: {kept:?}");
}
