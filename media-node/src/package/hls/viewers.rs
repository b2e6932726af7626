//! How many watch by HLS, where nobody has a connection of their own and no cookie may spoil caches: a viewer takes a second of
//! media every second, so that viewers are the seconds of media sent in a second, averaged over a few.

/// Seconds that are averaged: twice the longest segment of usual settings.
const WINDOW: usize = 8;

/// Counts seconds of media.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    /// Milliseconds of media sent in each of the last seconds, newest last.
    sent: [u64; WINDOW],
    now: u64,
}

impl Viewers {
    /// So much media went to somebody.
    pub(super) fn sent(&mut self, ms: u64) {
        self.now = self.now.saturating_add(ms);
    }

    /// A second has passed: how many watch. Whoever takes anything is at least one.
    pub(super) fn second(&mut self) -> u64 {
        self.sent.rotate_left(1);
        self.sent[WINDOW - 1] = std::mem::take(&mut self.now);
        let sum: u64 = self.sent.iter().sum();
        let mean = (sum + WINDOW as u64 * 500) / (WINDOW as u64 * 1_000);
        mean.max(u64::from(sum > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_are_the_seconds_of_media_sent_in_a_second() {
        let mut viewers = Viewers::default();
        let mut counted = 0;
        for second in 0..20 {
            for _ in 0..100 {
                viewers.sent(1_000);
            }
            if second % 4 == 0 {
                viewers.sent(10 * 4_000); // ten take whole segments of 4 s
            }
            counted = viewers.second();
        }
        assert_eq!(counted, 110);
    }

    #[test]
    fn one_who_takes_little_is_one_and_who_left_is_none() {
        let mut viewers = Viewers::default();
        viewers.sent(200);
        assert_eq!(viewers.second(), 1);
        let later: Vec<u64> = (0..WINDOW).map(|_| viewers.second()).collect();
        assert_eq!(later.last(), Some(&0));
    }
}
