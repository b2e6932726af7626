//! What was written, and what goes wrong with it.

/// One write as it came, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `apply`, `status`, `patch`, `create` or `delete`.
    pub verb: &'static str,
    /// Kind of the object.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The answer's code; 0 for none.
    pub code: u16,
    /// It changed something.
    pub changed: bool,
    /// Annotations that it would set, change or take away.
    pub annotations: Vec<String>,
}

/// How a write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection breaks.
    Connection,
    /// The answer has this code.
    Status(u16),
    /// Whoever writes dies at this moment.
    Death,
}

/// Whether a write that goes wrong was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It was not.
    Before,
    /// It was; only the answer is lost.
    After,
}

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// No connection comes about.
    pub(crate) away: bool,
    /// Requests that are answered 429 yet.
    pub(crate) throttled: u32,
    /// The write with this number, counted from now.
    pub(crate) write: Option<(usize, When, Failure)>,
    /// Writes of these kinds are refused, with this code and message.
    pub(crate) refused: Vec<(&'static str, u16, String)>,
    /// Lists come in pages of one; those after the first wait.
    pub(crate) held_pages: bool,
    /// Watches of these kinds tell nothing meanwhile.
    pub(crate) held_watches: Vec<&'static str>,
    /// Watches of an older number break.
    pub(crate) epoch: u64,
}
