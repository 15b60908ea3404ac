//! An app that resumes by its own ids: where it is asked to go on.

use bytes::Bytes;

use super::Ring;
use crate::{
    channel::{
        id,
        seal::{Seal, Trust},
    },
    config::model::Ids,
};

/// Where an app was asked to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Wherever it likes.
    Anew,
    /// Where the client is.
    There,
    /// Wherever it likes, since nothing proves the client's id, nor could.
    Unproven,
}

impl Ring {
    /// The same, of an app that resumes by its own ids, which count as far as `trust` says.
    #[must_use]
    pub fn resuming(self, trust: Trust) -> Self {
        Self {
            resumes: true,
            trust,
            ..self
        }
    }

    /// Ids that prove themselves count from now on, where none did.
    pub fn seal(&mut self, seal: Seal) {
        if matches!(self.trust, Trust::Nobody) {
            self.trust = Trust::Sealed(seal);
        }
    }

    /// The app, which has sent nothing yet, is asked to go on where a client with `last_event_id` is,
    /// if that id counts.
    pub fn begin(&mut self, last_event_id: Option<&[u8]>, id_bytes_max: usize) -> Begun {
        debug_assert_eq!(self.head, 0, "nothing came yet");
        if !self.resumes {
            return Begun::Anew;
        }
        let app_id = last_event_id.and_then(|id| self.app_id_in(id));
        let app_id = app_id.filter(|(id, _)| id.len() <= id_bytes_max);
        let trusted = app_id
            .as_ref()
            .filter(|(id, seal)| self.trust.holds(id, *seal));
        self.app_ids.begin(trusted.map(|(id, _)| id.clone()));
        match (&app_id, trusted, &self.trust) {
            (Some(_), Some(_), _) => Begun::There,
            (Some(_), None, Trust::Nobody) => Begun::Unproven,
            (Some(_) | None, _, _) => Begun::Anew,
        }
    }

    /// The id from which the app is to go on. `None`: it does not resume, or has given no id.
    #[must_use]
    pub fn resume_point(&self) -> Option<&Bytes> {
        self.app_ids.last().filter(|_| self.resumes)
    }

    /// A client with this id may have come here from elsewhere, where the stream is further on: its
    /// place may still come.
    #[must_use]
    pub fn may_pass(&self, last_event_id: &[u8]) -> bool {
        let is_own = self.ids == Ids::Local
            && id::parse(last_event_id).is_some_and(|id| id.epoch == self.epoch);
        self.resumes
            && !is_own
            && !self.app_ids.is_broken()
            && self
                .app_id_in(last_event_id)
                .is_some_and(|(id, _)| self.app_ids.find(&id).is_none())
    }

    /// The app's id in an id that a client has brought, with its seal; one that can be sent to the app.
    fn app_id_in(&self, last_event_id: &[u8]) -> Option<(Bytes, Option<u64>)> {
        match self.ids {
            Ids::Local => {
                let id = id::parse(last_event_id)?;
                Some((id.app_id?, id.seal))
            }
            Ids::Unique => {
                let app_id = Bytes::copy_from_slice(last_event_id);
                id::is_sendable(&app_id).then_some((app_id, None))
            }
        }
    }
}

#[cfg(test)]
mod tests;
