//! Our own pings: one at a time, each with a deadline for its pong (RFC 6455 section 5.5.2).

/// When to ping, and until when the pong may take.
#[derive(Debug)]
pub(super) struct Liveness {
    interval_s: Option<f64>,
    timeout_s: f64,
    next_at: f64,
    deadline: Option<f64>,
    serial: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// A ping with this payload is to be sent.
    Ping([u8; 8]),
    /// The pong did not come: the peer counts as dead.
    Dead,
}

impl Liveness {
    pub(super) fn new(interval_s: Option<f64>, timeout_s: f64, now: f64) -> Self {
        let next_at = now + interval_s.unwrap_or(f64::INFINITY);
        Self {
            interval_s,
            timeout_s,
            next_at,
            deadline: None,
            serial: 0,
        }
    }

    /// When something is due.
    pub(super) fn due_at(&self) -> Option<f64> {
        self.deadline.or(self.interval_s.map(|_| self.next_at))
    }

    pub(super) fn advance(&mut self, now: f64) -> Due {
        if let Some(deadline) = self.deadline {
            return if now >= deadline { Due::Dead } else { Due::Nothing };
        }
        let Some(interval_s) = self.interval_s.filter(|_| now >= self.next_at) else {
            return Due::Nothing;
        };
        self.serial += 1;
        self.next_at = now + interval_s;
        self.deadline = Some(now + self.timeout_s);
        Due::Ping(self.serial.to_be_bytes())
    }

    /// The peer shows that it lives: a pong that is still to come gets its whole time again.
    ///
    /// On either way it may stand behind megabytes of audio, which a healthy but slow link takes longer to carry.
    pub(super) fn postpone(&mut self, now: f64) {
        if let Some(deadline) = &mut self.deadline {
            *deadline = deadline.max(now + self.timeout_s);
        }
    }

    /// A pong came; one that does not answer the last ping is ignored (RFC 6455 section 5.5.3).
    pub(super) fn handle_pong(&mut self, payload: &[u8]) {
        if payload == self.serial.to_be_bytes() {
            self.deadline = None;
        }
    }
}
