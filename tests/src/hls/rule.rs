//! The rules that a live stream is held to, each with where it stands, and what a breach says.

use std::fmt;

macro_rules! rules {
    ($($name:ident $section:literal $text:literal)*) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = concat!($text, " (", $section, ").")] $name,)* }

        impl Rule {
            /// All of them.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// Where it stands: sections of the RFC, items of Apple's specification.
            pub fn section(self) -> &'static str {
                match self { $(Rule::$name => $section,)* }
            }

            /// What it says.
            pub fn text(self) -> &'static str {
                match self { $(Rule::$name => $text,)* }
            }
        }
    };
}

rules! {
    Header "§4.4.1.1" "a playlist begins with EXTM3U"
    Syntax "§4.1, §4.2" "lines, tags and attributes have the form that they are given"
    VersionEnough "§8" "the version covers every tag in the playlist"
    VersionNotHigher "§6.2.1" "the version is not greater than its tags ask for"
    RepeatedTag "§4.4.1.2, §4.4.2, §4.4.3, §4.4.5" "a tag for the whole playlist stands in it once"
    RequiredTag "§4.4.3, §4.4.4, §4.4.5; Apple 8.17, 8.20" "required tags and attributes are there"
    TagPlace "§4.4.3.2, §4.4.3.3, §4.4.4.9, §4.4.5.3, §4.4.6, §6.2.2" "tags stand where they may"
    TargetDuration "§4.4.3.1; Apple 7.7" "no segment, rounded, is longer than the target duration"
    PartMaximum "§4.4.4.9" "no part is longer than the part target"
    PartMinimum "§4.4.4.9" "a part has 85 % of the part target, unless independent or the last of its segment"
    PartSum "§3.2" "a segment's parts add up to it"
    PartIndependent "§4.4.4.9; Apple 7.4, 9.12" "where segments are independent, the first part of each says so"
    HoldBack "§4.4.3.8" "HOLD-BACK is at least three target durations"
    PartHoldBack "§4.4.3.8; Apple 14.3" "PART-HOLD-BACK is at least three part targets"
    SkipBoundary "§4.4.3.8" "CAN-SKIP-UNTIL is at least six target durations"
    BlockReload "Appendix B.1" "a low-latency playlist offers blocking reload"
    DateTime "§4.4.4.6, §6.2.1; Apple 8.4" "every segment has its date, and dates follow from durations"
    MapChange "§4.4.4.3, §6.2.1" "another init segment comes with a discontinuity"
    PartsKept "§6.2.1, §6.2.2" "parts stay in the playlist for three target durations"
    PartsDropped "§6.2.2" "parts farther from the end than three target durations are removed"
    PlainTags "§4.4.3, §4.4.4" "a plain playlist has no tag for low latency"
    ConstantHeader "§6.2.1" "target durations and server control never change"
    MediaSequence "§6.2.2" "the media sequence number grows by one for each segment removed"
    DiscontinuitySequence "§6.2.2; Apple 8.15" "a segment's discontinuity sequence number never changes"
    SegmentIdentity "§6.2.1" "a listed segment never changes, whichever server lists it"
    PartIdentity "§6.2.1, §6.2.2" "a listed part never changes, and leaves in order"
    Progress "§6.2.1" "a playlist only grows at its end"
    WindowMinimum "§6.2.2; Apple 8.11" "removal leaves three target durations and six segments"
    EndlistFinal "§4.4.3.4, §6.2.1" "after EXT-X-ENDLIST nothing changes"
    SegmentCadence "§6.2.1" "a new segment comes within 1.5 target durations"
    PartCadence "§6.2.1" "a new part comes within one part target"
    SkipAsked "§6.2.5.1, §8" "a delta update is an answer to _HLS_skip, and _HLS_skip is answered by one"
    SkipExtent "§6.2.5.1" "what is skipped is older than the skip boundary, and all of that"
    SkipArithmetic "§4.4.5.2, §6.3.7" "a delta update and what it skips make the whole playlist"
    BlockedAnswer "§6.2.5.2" "an answer to _HLS_msn has what was waited for"
    Hint "§4.4.5.3, §6.2.6" "a live low-latency playlist hints at one part, which is not listed yet"
    HintComesTrue "§4.4.5.3" "the part that was hinted at is the next part"
    Report "§4.4.5.4, Appendix B.1" "there is a report on every other rendition, and it is right"
    SameTarget "§6.2.4; Apple 8.2" "all renditions have the same target duration and server control"
    SameDates "§6.2.4" "all renditions have the same dates and discontinuities for the same segments"
    VariantAttributes "§4.4.6.2; Apple 9.1, 9.2, 9.14, 9.15" "a variant tells its bandwidth, codecs, size and frame rate"
    Renditions "§4.4.6.1, §4.4.6.2; Apple 8.10" "a variant's groups are there, and complete"
    IndependentSegments "§4.4.2.1; Apple 9.11, 9.12" "a stream of independent segments says so"
    Codecs "§6.2.4" "CODECS names every format that the segments have"
    VariantExists "§4.4.6.2" "every playlist that is named is there"
    Bandwidth "§4.4.6.2; Apple 1.28, 1.29, 9.13" "the declared bandwidths bound the measured ones"
    Boxes "ISO/IEC 14496-12 §8.8, ISO/IEC 23000-19 §7.3" "init segments and parts have the boxes that they need"
    DecodeTime "§3.1.2; Apple 7.1, 7.3" "a part begins where the one before it ended"
    SampleTimes "§3.2; Apple 8.1" "a part's samples last as long as the playlist says"
    SyncSample "§4.4.4.9" "an independent part begins with a sync sample, and one that does says so"
}

/// What a check found, before it is known where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is broken.
    pub rule: Rule,
    /// How.
    pub why: String,
    /// Line numbers, from 1.
    pub lines: Vec<usize>,
}

impl Finding {
    /// A finding at some lines.
    pub fn new(rule: Rule, why: impl Into<String>, lines: &[usize]) -> Self {
        let lines = lines.to_vec();
        let why = why.into();
        Self { rule, why, lines }
    }

    /// Puts it where it was found: `number` counts the playlists of this address.
    pub fn at(self, playlist: &str, number: usize, server: &str, text: &str) -> Fault {
        let line = |number: &usize| Some((*number, text.lines().nth(number.checked_sub(1)?)?.to_owned()));
        Fault {
            rule: self.rule,
            why: self.why,
            playlist: playlist.to_owned(),
            number,
            server: server.to_owned(),
            lines: self.lines.iter().filter_map(line).collect(),
        }
    }
}

/// A breach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The rule.
    pub rule: Rule,
    /// How it is broken.
    pub why: String,
    /// Path of the playlist or segment.
    pub playlist: String,
    /// Which of the playlists seen under this path, from 1.
    pub number: usize,
    /// Who answered.
    pub server: String,
    /// The lines at fault, with their numbers from 1.
    pub lines: Vec<(usize, String)>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            why,
            playlist,
            number,
            server,
            lines,
        } = self;
        write!(
            f,
            "{rule:?} ({}): {}: {why}; {playlist} no. {number} of {server}",
            rule.section(),
            rule.text()
        )?;
        lines
            .iter()
            .try_for_each(|(number, line)| write!(f, "\n  {number:>4} | {line}"))
    }
}

impl std::error::Error for Fault {}
