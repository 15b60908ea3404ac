//! What the process takes of the machine's memory.

use super::{Registrar, cell::Level};

/// Bytes, looked at every second.
#[derive(Debug)]
pub struct MemoryMetrics {
    /// The process itself.
    pub resident: Level,
    /// What the kernel keeps for sockets.
    pub sockets: Level,
    /// Both together at most, for new subscribers; 0: no bound.
    pub max: Level,
}

impl MemoryMetrics {
    pub(super) fn new(r: &mut Registrar) -> Self {
        Self {
            resident: r.level("resident_bytes", "Memory of the process"),
            sockets: r.level(
                "socket_bytes",
                "Memory that the kernel keeps for sockets of the container",
            ),
            max: r.level(
                "memory_bytes_max",
                "Memory of process and sockets beyond which no new subscribers come in; 0: any",
            ),
        }
    }
}
