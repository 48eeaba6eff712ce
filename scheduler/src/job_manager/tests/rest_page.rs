//! Holds `docs/rest.md` and the API's own description to what is served.

use std::{collections::BTreeSet, fs, path::Path};

use super::server::Server;
use crate::rest::routes::{Answer, ROUTES};

fn served() -> BTreeSet<String> {
    ROUTES.iter().map(|route| format!("{} {}", route.method.to_uppercase(), route.path)).collect()
}

#[test]
fn the_page_lists_every_operation_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rest.md");
    let page = fs::read_to_string(&path).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let is_operation = |text: &&str| {
        text.split_once(" /")
            .is_some_and(|(method, _)| ["GET", "PUT", "POST", "PATCH", "DELETE"].contains(&method))
    };
    let listed: BTreeSet<String> = quoted.filter(is_operation).map(str::to_owned).collect();
    let served = served();
    let missing: Vec<_> = served.difference(&listed).collect();
    let extra: Vec<_> = listed.difference(&served).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "not in docs/rest.md: {missing:#?}, not served: {extra:#?}"
    );
}

#[tokio::test]
async fn the_description_lists_every_operation_and_no_other() {
    let server = Server::start().await;
    let (_, description) = server.get("/v1/openapi.json").await;
    let paths = description["paths"].as_object().unwrap();
    let mut described = BTreeSet::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            described.insert(format!("{} {path}", method.to_uppercase()));
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{method} {path}");
        }
    }
    assert_eq!(described, served());
}

#[tokio::test]
async fn what_is_not_served_says_what_to_use() {
    let server = Server::start().await;
    for route in ROUTES {
        let Answer::Refusal(why) = route.answer else { continue };
        let path = route.path.replace(['{', '}'], "");
        let (status, answer) = server.json(route.method.to_uppercase().parse().unwrap(), &path, "").await;
        assert_eq!((status, &answer["code"]), (501, &"unsupported".into()), "{path}");
        let text = answer["errors"][0].as_str().unwrap();
        assert!(text.contains(route.path) && text.contains(why), "{text}");
    }
}
