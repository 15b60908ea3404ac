use std::{fs, os::unix::fs::symlink, path::Path};

use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rustls::sign::CertifiedKey;

use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// A pair that is valid for `days` from [`NOW`] on: certificate and key as PEM.
fn made(days: u64) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    (params.not_before, params.not_after) = (epoch, epoch + Duration::from_secs(days * DAY));
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A Secret's volume: `tls.crt` -> `..data/tls.crt`, `..data` -> a dated folder; an update makes a new
/// folder and swaps `..data` by a rename.
struct Secret {
    folder: tempfile::TempDir,
    updates: u32,
}

impl Secret {
    fn new((certificate, key): &(String, String)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
        }
        let mut secret = Self { folder, updates: 0 };
        secret.publish(certificate, key);
        secret
    }

    fn publish(&mut self, certificate: &str, key: &str) {
        self.updates += 1;
        let (root, name) = (self.folder.path(), format!("..{}", self.updates));
        fs::create_dir(root.join(&name)).unwrap();
        fs::write(root.join(&name).join("tls.crt"), certificate).unwrap();
        fs::write(root.join(&name).join("tls.key"), key).unwrap();
        symlink(name, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    }

    fn load(&self, metrics: &Metrics) -> Rotation {
        let files = ListenerTls {
            certificate: self.folder.path().join("tls.crt"),
            key: self.folder.path().join("tls.key"),
        };
        Rotation::load("web", files, metrics).unwrap()
    }
}

/// Looks until the files have come to rest.
fn settle(rotation: &mut Rotation) -> Looked {
    match rotation.look() {
        Looked::Unsettled => rotation.look(),
        looked @ (Looked::Unchanged | Looked::Taken | Looked::Refused) => looked,
    }
}

fn in_use(rotation: &Rotation) -> Arc<CertifiedKey> {
    rotation.certificate().current()
}

#[test]
fn a_renewed_pair_is_taken_when_it_has_come_to_rest() {
    let metrics = Metrics::new();
    let mut secret = Secret::new(&made(30));
    let mut rotation = secret.load(&metrics);
    let before = in_use(&rotation);
    assert_eq!(rotation.look(), Looked::Unchanged);
    let not_after = "certificate_not_after_seconds{listener=\"web\"}";
    assert!(
        metrics
            .render()
            .contains(&format!("{not_after} 2592000.0\n"))
    );

    let (certificate, key) = made(60);
    secret.publish(&certificate, &key);
    assert_eq!(rotation.look(), Looked::Unsettled);
    assert_eq!(in_use(&rotation).cert, before.cert);
    assert_eq!(rotation.look(), Looked::Taken);
    assert_ne!(in_use(&rotation).cert, before.cert);
    assert_eq!(rotation.look(), Looked::Unchanged);
    secret.publish(&certificate, &key);
    assert_eq!(
        rotation.look(),
        Looked::Unchanged,
        "a swap to the same content"
    );
    let text = metrics.render();
    assert!(text.contains(&format!("{not_after} 5184000.0\n")), "{text}");
    for (outcome, count) in [("applied", 1), ("rejected", 0)] {
        let series = format!(
            "certificate_rotations_total{{listener=\"web\",outcome=\"{outcome}\"}} {count}\n"
        );
        assert!(text.contains(&series), "{text}");
    }
}

#[test]
fn what_is_no_pair_changes_nothing_and_says_why_once() {
    let metrics = Metrics::new();
    let (old, new) = (made(30), made(60));
    let mut secret = Secret::new(&old);
    let mut rotation = secret.load(&metrics);
    let before = in_use(&rotation);
    let cases = [
        // One file came before the other.
        (
            new.0.as_str(),
            old.1.as_str(),
            "is not the key of the first certificate",
        ),
        ("", new.1.as_str(), "holds no CERTIFICATE section"),
        (
            new.0.as_str(),
            "half a k",
            "holds no unencrypted PRIVATE KEY section",
        ),
    ];
    for (n, (certificate, key, why)) in (1..).zip(cases) {
        secret.publish(certificate, key);
        assert_eq!(settle(&mut rotation), Looked::Refused);
        assert_eq!(settle(&mut rotation), Looked::Unchanged);
        assert!(Arc::ptr_eq(&in_use(&rotation), &before));
        assert_eq!(rotation.metrics.rotations.get(RotationOutcome::Rejected), n);
        let notes: Vec<_> = rotation.notes(NOW).collect();
        assert!(notes.iter().any(|note| note.contains(why)), "{notes:?}");
    }
    fs::remove_file(secret.folder.path().join("..data")).unwrap();
    assert_eq!(settle(&mut rotation), Looked::Refused);
    assert!(
        rotation
            .notes(NOW)
            .any(|note| note.contains("no such file"))
    );

    secret.publish(&new.0, &new.1);
    assert_eq!(settle(&mut rotation), Looked::Taken);
    assert_eq!(rotation.notes(NOW).count(), 0);
    let key = KeyPair::from_pem(&new.1).unwrap();
    let used = in_use(&rotation);
    let public = used.key.public_key().unwrap();
    assert_eq!(public.as_ref(), key.subject_public_key_info());
}

#[test]
fn expiry_is_told_two_weeks_before_once_a_day() {
    let secret = Secret::new(&made(30));
    let mut rotation = secret.load(&Metrics::new());
    let after = |days: u64| NOW + Duration::from_secs(days * DAY);
    for (day, left, told) in [
        (15, None, None),
        (16, Some("expires in 13 days"), Some(16)),
        (17, Some("expires in 12 days"), Some(17)),
        (29, Some("or does within a day"), Some(29)),
        (31, Some("has expired"), Some(31)),
    ] {
        // Just past midnight, and again half a day later.
        for now in [1, DAY / 2].map(|seconds| after(day) + Duration::from_secs(seconds)) {
            rotation.tell_of_expiry(now);
            let notes: Vec<_> = rotation.notes(now).collect();
            assert_eq!(notes.len(), usize::from(left.is_some()), "{notes:?}");
            for (note, left) in notes.iter().zip(left) {
                assert!(note.contains(left), "{note}");
            }
            let first = told.map(|day| after(day) + Duration::from_secs(1));
            assert_eq!(rotation.told, first, "day {day}");
        }
    }
}
