//! Trimming: the log goes up to the floor and no further; and the api stops before more waits than there is room for.

mod backlog;
mod embedded;
mod held;
mod kafka;
