//! Instances side by side: each has a data directory of its own.

use crate::client::any_bid;
use crate::server::Server;

#[test]
fn a_second_instance_on_one_data_directory_stops_and_says_whose_it_is() {
    let server = Server::usual();
    let said = server.home.run(&["serve", "--listen", "127.0.0.1:0"]);
    let line = said.one_line_error();
    for part in [format!("process {}", server.pid()), "stop it, or give".to_owned()] {
        assert!(line.contains(&part), "{line}");
    }
    assert_eq!(said.out, "", "it is not said to serve");
    assert!([200, 400].contains(&server.bid(any_bid()).status), "the first goes on");
}
