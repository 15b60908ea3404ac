use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::*;
use crate::upstream::testing::PATIENCE;

const WAIT: Duration = Duration::from_secs(2);

/// A resolver that a test answers for: each lookup takes the next answer.
struct Resolver {
    names: Arc<Names>,
    asked: Arc<AtomicUsize>,
    answers: mpsc::Sender<Result<Vec<&'static str>, &'static str>>,
}

impl Resolver {
    fn new() -> Self {
        let (answers, receiver) = mpsc::channel(16);
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let names = Names::by(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let receiver = receiver.clone();
            Box::pin(async move {
                let found: Result<Vec<&str>, &str> = receiver.lock().await.recv().await.unwrap();
                let found = found.map_err(io::Error::other)?;
                Ok(found.iter().map(|text| text.parse().unwrap()).collect())
            })
        });
        Self {
            names: Arc::new(names),
            asked,
            answers,
        }
    }

    fn answers(&self, answer: Result<&[&'static str], &'static str>) {
        self.answers.try_send(answer.map(<[_]>::to_vec)).unwrap();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until so many lookups have begun.
    async fn until_asked(&self, lookups: usize) {
        let asked = async {
            while self.asked() < lookups {
                tokio::task::yield_now().await;
            }
        };
        let begun = tokio::time::timeout(PATIENCE, asked).await;
        begun.expect("a lookup begins");
    }

    /// What somebody is told who comes at `millis`.
    async fn tells(&self, millis: u64) -> Result<Vec<String>, String> {
        let found = self.names.addresses("app", WAIT, Millis(millis)).await?;
        Ok(found.iter().map(IpAddr::to_string).collect())
    }
}

#[tokio::test]
async fn an_answer_holds_for_three_seconds() {
    let resolver = Resolver::new();
    resolver.answers(Ok(&["10.0.0.1"]));
    for millis in [1_000, 1_001, 3_999] {
        assert_eq!(resolver.tells(millis).await.unwrap(), ["10.0.0.1"]);
    }
    resolver.answers(Ok(&["10.0.0.2"]));
    assert_eq!(resolver.tells(4_000).await.unwrap(), ["10.0.0.2"]);
    assert_eq!(resolver.asked(), 2);
}

#[tokio::test]
async fn addresses_come_once_each_ipv4_first_and_no_more_than_are_tried() {
    let resolver = Resolver::new();
    let many = [
        "::1", "10.0.0.1", "::1", "10.0.0.2", "10.0.0.1", "::2", "::3",
    ];
    resolver.answers(Ok(&many));
    assert_eq!(
        resolver.tells(0).await.unwrap(),
        ["10.0.0.1", "10.0.0.2", "::1", "::2"]
    );
}

#[tokio::test]
async fn a_crowd_asks_once() {
    let resolver = Arc::new(Resolver::new());
    let crowd: Vec<_> = (0..100)
        .map(|n| {
            let resolver = resolver.clone();
            // Some come long after the lookup began: they wait for its answer all the same.
            tokio::spawn(async move { resolver.tells(n * 100).await })
        })
        .collect();
    resolver.until_asked(1).await;
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    resolver.answers(Ok(&["10.0.0.1"]));
    for one in crowd {
        assert_eq!(one.await.unwrap().unwrap(), ["10.0.0.1"]);
    }
    assert_eq!(resolver.asked(), 1);
}

#[tokio::test]
async fn a_failing_resolver_leaves_the_last_answer_in_force() {
    let resolver = Resolver::new();
    resolver.answers(Ok(&["10.0.0.1"]));
    assert_eq!(resolver.tells(0).await.unwrap(), ["10.0.0.1"]);
    for (at, answer) in [(5_000, Err("down")), (10_000, Ok(&[][..]))] {
        resolver.answers(answer);
        for millis in [at, at + 2_999] {
            assert_eq!(resolver.tells(millis).await.unwrap(), ["10.0.0.1"]);
        }
    }
    assert_eq!(resolver.asked(), 3);
}

#[tokio::test]
async fn while_somebody_asks_the_others_go_on_with_the_last_answer() {
    let resolver = Arc::new(Resolver::new());
    resolver.answers(Ok(&["10.0.0.1"]));
    resolver.tells(0).await.unwrap();
    let asker = resolver.clone();
    let asking = tokio::spawn(async move { asker.tells(5_000).await });
    resolver.until_asked(2).await;
    assert_eq!(resolver.tells(5_001).await.unwrap(), ["10.0.0.1"]);
    resolver.answers(Ok(&["10.0.0.2"]));
    assert_eq!(asking.await.unwrap().unwrap(), ["10.0.0.2"]);
    assert_eq!(resolver.tells(5_002).await.unwrap(), ["10.0.0.2"]);
}

/// Long after the last answer another app may have its address.
#[tokio::test]
async fn an_old_answer_is_not_used_while_somebody_asks() {
    for (age, expected) in [
        (29_999, "10.0.0.1"),
        (30_000, "10.0.0.2"),
        (3_600_000, "10.0.0.2"),
    ] {
        let resolver = Arc::new(Resolver::new());
        resolver.answers(Ok(&["10.0.0.1"]));
        resolver.tells(0).await.unwrap();
        let asker = resolver.clone();
        let asking = tokio::spawn(async move { asker.tells(age).await });
        resolver.until_asked(2).await;
        let other = resolver.clone();
        let other = tokio::spawn(async move { other.tells(age).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(other.is_finished(), expected == "10.0.0.1", "{age}");
        resolver.answers(Ok(&["10.0.0.2"]));
        assert_eq!(other.await.unwrap().unwrap(), [expected], "{age}");
        assert_eq!(asking.await.unwrap().unwrap(), ["10.0.0.2"]);
        assert_eq!(resolver.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_fell_silent_leaves_the_last_answer_in_force_for_all() {
    let resolver = Arc::new(Resolver::new());
    resolver.answers(Ok(&["10.0.0.1"]));
    resolver.tells(0).await.unwrap();
    let crowd = [(); 3].map(|()| {
        let resolver = resolver.clone();
        tokio::spawn(async move { resolver.tells(3_600_000).await })
    });
    for one in crowd {
        assert_eq!(one.await.unwrap().unwrap(), ["10.0.0.1"]);
    }
}

#[tokio::test]
async fn a_failure_is_believed_for_a_second() {
    let resolver = Resolver::new();
    resolver.answers(Err("no such host"));
    for millis in [0, 999] {
        assert_eq!(resolver.tells(millis).await.unwrap_err(), "no such host");
    }
    resolver.answers(Ok(&["10.0.0.1"]));
    assert_eq!(resolver.tells(1_000).await.unwrap(), ["10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_is_not_waited_for_longer_than_wanted() {
    let resolver = Arc::new(Resolver::new());
    let first = {
        let resolver = resolver.clone();
        tokio::spawn(async move { resolver.tells(0).await })
    };
    for told in [resolver.tells(0).await, first.await.unwrap()] {
        assert_eq!(told.unwrap_err(), "no answer within 2s");
    }
}

#[tokio::test]
async fn one_who_leaves_while_asking_leaves_the_question_to_the_next() {
    let resolver = Arc::new(Resolver::new());
    let leaver = resolver.clone();
    let leaver = tokio::spawn(async move { leaver.tells(0).await });
    resolver.until_asked(1).await;
    let next = resolver.clone();
    let next = tokio::spawn(async move { next.tells(1).await });
    leaver.abort();
    resolver.answers(Ok(&["10.0.0.1"]));
    assert_eq!(next.await.unwrap().unwrap(), ["10.0.0.1"]);
    assert_eq!(resolver.asked(), 2);
}
