"""Is an auction truthful? Complete audits, searches, laws and proofs, for any mechanism.

| file | what it holds |
|---|---|
| `audit` | the public call: chooses a method and puts the report together |
| `job` | its checked input, and how the clients are shared between processes |
| `checks` | the work on one client by each method, as records that travel to processes |
| `report` | what an audit returns |
| `properties` | the laws: each looks for a witness against a mechanism, one client at a time |
| `violation` | names of the laws, and the witness, which replays |
| `response_curve`, `infinitesimal` | all bids of one client on one task, traced exactly |
| `best_response` | best joint misreport, for rules whose structure is known |
| `random_reports` | random joint misreports, for searches |
| `collusion`, `collusion_search` | coalitions and false names: on given reports, and at random |
| `run_rule` | running somebody's mechanism and checking its outcome |
| `symbolic` | `prove`: laws for all real bids of a small shape, on every path of the rule |
| `smt` | proofs for all real bids by the solver Z3 |
"""
