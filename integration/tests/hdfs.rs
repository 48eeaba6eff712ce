//! Against real NameNodes and DataNodes.

mod name_service;
mod sql;
mod table;

use thalweg_integration::hadoop::Hdfs;

#[tokio::test]
async fn blocks_lie_on_two_hosts_and_survive_a_restart_of_the_namenode() {
    let hdfs = Hdfs::start().unwrap();
    let client = hdfs.client();
    let bytes: Vec<u8> = (0..8u32 << 20).map(|n| (n % 251) as u8).collect();
    client.put("/blocks/a", bytes.clone()).await.unwrap();
    let hosts = client.block_hosts("/blocks/a").await.unwrap();
    assert_eq!(hosts.len(), 8);
    assert!(hosts.iter().all(|hosts| hosts.len() == 1));
    assert_eq!(client.get("/blocks/a").await.unwrap(), bytes);
    hdfs.kill("namenode").unwrap();
    assert!(client.files("/blocks").await.is_err());
    hdfs.restart().unwrap();
    assert_eq!(client.files("/blocks").await.unwrap().len(), 1);
}
