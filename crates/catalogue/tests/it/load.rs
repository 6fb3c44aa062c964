use crate::proxy::{Cut, proxy};
use crate::scratch::{Scratch, shown, with_database};
use catalogue::{Database, File, Loaded, Snapshot, generate, load};

const FIRST: &str = r#"{"supplies":{"s1":["b1","b2"],"s2":{"bidders":["b2"],"auction":"second_price","bid_floor":0.1}},
    "bidders":{"b1":{"country":"USA"},"b2":{"country":"GB","simulation":{"no_bid_probability":0.2}}}}"#;
const FIRST_SHOWN: &str = "s1 first_price 0.00: b2/GB b1/US; s2 second_price 0.10: b2/GB";

#[tokio::test]
async fn a_file_is_loaded_whole_and_is_the_same_catalogue_on_both_databases() {
    let mut revisions = Vec::new();
    for scratch in Scratch::both().await {
        let loaded = scratch.load(FIRST).await.unwrap();
        assert_eq!(loaded, Loaded { supplies_new: 2, bidders_new: 2, ..Loaded::default() });
        let snapshot = scratch.read().await;
        assert_eq!(shown(&snapshot), FIRST_SHOWN);
        assert_eq!(snapshot.supply("s2").unwrap().bidders()[0].profile.no_bid_ppm, 200_000);
        revisions.push(snapshot.revision());
        assert_eq!(scratch.load(FIRST).await.unwrap(), Loaded::default(), "again it changes nothing");
    }
    assert_eq!(revisions[0], revisions[1]);
}

#[tokio::test]
async fn what_exists_becomes_what_the_file_says_and_the_rest_stays() {
    let second = r#"{"supplies":{"s1":["b3"],"s3":["b2","b3"]},
        "bidders":{"b1":{"country":"FR"},"b3":{"country":"DE"}}}"#;
    for scratch in Scratch::both().await {
        scratch.load(FIRST).await.unwrap();
        let loaded = scratch.load(second).await.unwrap();
        assert_eq!(
            loaded,
            Loaded { supplies_new: 1, supplies_changed: 1, bidders_new: 1, bidders_changed: 1 }
        );
        let expected =
            "s1 first_price 0.00: b3/DE; s2 second_price 0.10: b2/GB; s3 first_price 0.00: b3/DE b2/GB";
        assert_eq!(shown(&scratch.read().await), expected);
        // the plain form is first price without a floor; a changed rule alone is a change, a lost simulation too
        let third = r#"{"supplies":{"s2":["b2"]},"bidders":{"b2":{"country":"GB"}}}"#;
        let loaded = scratch.load(third).await.unwrap();
        assert_eq!(loaded, Loaded { supplies_changed: 1, bidders_changed: 1, ..Loaded::default() });
        assert_eq!(scratch.load(r#"{"supplies":{"s2":[]}}"#).await.unwrap().supplies_changed, 1);
        assert!(shown(&scratch.read().await).contains("s2 first_price 0.00: ;"));
    }
}

#[tokio::test]
async fn any_id_survives() {
    let text = r#"{"supplies":{"a:b":["{x}","日本'; DROP TABLE bidders; --"],"\"q\" \\ ,":["{x}"]},
        "bidders":{"{x}":{"country":"US"},"日本'; DROP TABLE bidders; --":{"country":"JP"}}}"#;
    for scratch in Scratch::both().await {
        scratch.load(text).await.unwrap();
        let expected = "\"q\" \\ , first_price 0.00: {x}/US; \
                        a:b first_price 0.00: 日本'; DROP TABLE bidders; --/JP {x}/US";
        assert_eq!(shown(&scratch.read().await), expected);
    }
}

#[tokio::test]
async fn a_file_with_an_unknown_bidder_is_not_loaded_at_all() {
    let text = "{\"supplies\":{\"s1\":[\"b9\"],\"new\":[\"b1\",\n\"b7\"]},\"bidders\":{\"b1\":{\"country\":\"FR\"}}}";
    for scratch in Scratch::both().await {
        scratch.load(FIRST).await.unwrap();
        let error = scratch.load(text).await.unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 2, "{error}");
        assert!(lines[0].starts_with("f:1:20: supply \"s1\" names \"b9\""), "{error}");
        assert!(lines[1].starts_with("f:2:1: supply \"new\" names \"b7\""), "{error}");
        assert_eq!(shown(&scratch.read().await), FIRST_SHOWN);
    }
}

#[tokio::test]
async fn a_load_that_fails_in_the_middle_leaves_nothing_behind() {
    let text = r#"{"supplies":{"s9":["b1"]},
        "bidders":{"b1":{"country":"FR"},"b8":{"country":"SE"},"b9":{"country":"SE"}}}"#;
    for scratch in Scratch::both().await {
        scratch.load(FIRST).await.unwrap();
        scratch.sql("CREATE UNIQUE INDEX one_each ON bidders (country)").await;
        let error = scratch.load(text).await.unwrap_err().to_string();
        assert!(error.starts_with("nothing was loaded: ") && !error.contains('\n'), "{error}");
        assert_eq!(shown(&scratch.read().await), FIRST_SHOWN);
        scratch.sql("DROP INDEX one_each").await;
        scratch.load(text).await.unwrap();
    }
}

#[tokio::test]
async fn loads_at_once_are_held_one_after_the_other() {
    for scratch in Scratch::both().await {
        let loads: Vec<_> = (0..6)
            .map(|i| {
                let db = scratch.db.clone();
                tokio::spawn(async move {
                    let text = format!(
                        "{{\"supplies\":{{\"s\":[\"b{i}\"],\"t{i}\":[\"b\"]}},
                         \"bidders\":{{\"b\":{{\"country\":\"US\"}},\"b{i}\":{{\"country\":\"US\"}}}}}}"
                    );
                    let file = File::parse("f", text.into_bytes())?;
                    load(&db, &file, &mut |_, _, _| {}).await
                })
            })
            .collect();
        for done in loads {
            done.await.unwrap().unwrap();
        }
        let snapshot = scratch.read().await;
        assert_eq!((snapshot.supplies().len(), snapshot.bidders()), (7, 7));
        assert_eq!(snapshot.supply("s").unwrap().bidders().len(), 1);
    }
}

#[tokio::test]
async fn a_large_file_loads_tells_how_far_it_is_and_leaves_the_foreign_keys_in_place() {
    let mut text = Vec::new();
    generate(15_000, 300, 7, &mut text, &mut |_, _| {}).unwrap();
    let file = File::parse("f", text).unwrap();
    for scratch in Scratch::both().await {
        let mut steps: Vec<(String, u64, u64)> = Vec::new();
        let mut progress = |step: &str, done, total| steps.push((step.to_owned(), done, total));
        let loaded = load(&scratch.db, &file, &mut progress).await.unwrap();
        assert_eq!(loaded, Loaded { supplies_new: 15_000, bidders_new: 300, ..Loaded::default() });
        for name in ["staging bidders", "staging supplies", "writing changes"] {
            let last = steps.iter().rfind(|(step, ..)| step == name).unwrap();
            assert_eq!(last.1, last.2, "{last:?}");
        }
        assert!(links(&scratch.read().await) > 100_000);
        scratch.sql("DELETE FROM bidders WHERE no < 200").await;
        let left = links(&scratch.read().await);
        assert!((1..100_000).contains(&left), "{left} links are left");
    }
}

fn links(snapshot: &Snapshot) -> usize {
    snapshot.supplies().iter().map(|supply| supply.bidders().len()).sum()
}

#[tokio::test]
async fn a_connection_that_breaks_at_the_commit_makes_no_wrong_report() {
    for (cut, is_loaded) in [(Cut::BeforeCommit, false), (Cut::AfterCommit, true)] {
        let [_, scratch] = Scratch::both().await;
        let through = proxy(&scratch.url, cut).await;
        let url = with_database(&through, scratch.name.as_deref().unwrap());
        let db = Database::connect(&url, &[]).await.unwrap();
        let file = File::parse("f", FIRST.as_bytes().to_vec()).unwrap();
        let reported = load(&db, &file, &mut |_, _, _| {}).await;
        assert_eq!(scratch.read().await.supplies().len(), if is_loaded { 2 } else { 0 });
        assert_eq!(reported.is_ok(), is_loaded, "{reported:?}");
    }
}

/// SQLite reads through two connections, which must not see two catalogues.
#[tokio::test]
async fn a_reading_sees_one_moment_however_fast_the_catalogue_changes() {
    let file = |bidder: &str| {
        let supplies: Vec<String> = (0..400).map(|i| format!("\"s{i}\":[\"{bidder}\"]")).collect();
        let bidders = r#""bidders":{"a":{"country":"US"},"b":{"country":"GB"}}"#;
        format!("{{\"supplies\":{{{}}},{bidders}}}", supplies.join(","))
    };
    for scratch in Scratch::both().await {
        scratch.load(&file("a")).await.unwrap();
        let db = scratch.db.clone();
        let files = [file("b"), file("a")];
        let writing = tokio::spawn(async move {
            for text in files.iter().cycle().take(30) {
                let file = File::parse("f", text.as_bytes().to_vec()).unwrap();
                load(&db, &file, &mut |_, _, _| {}).await.unwrap();
            }
        });
        let mut changes = 0;
        let mut last = 0;
        while !writing.is_finished() {
            let snapshot = scratch.read().await;
            let first = &snapshot.supplies()[0].bidders()[0].id;
            let same =
                snapshot.supplies().iter().all(|s| s.bidders().len() == 1 && s.bidders()[0].id == *first);
            assert!(same, "two moments in one snapshot: {}", shown(&snapshot));
            changes += u32::from(snapshot.revision() != last);
            last = snapshot.revision();
        }
        writing.await.unwrap();
        assert!(changes > 2, "the catalogue changed under the readings {changes} times");
    }
}
