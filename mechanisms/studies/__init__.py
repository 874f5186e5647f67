"""Cost distributions, and comparisons of auctions over many draws and rounds.

| file | what it holds |
|---|---|
| `cost_distributions` | how costs are drawn for one auction |
| `cost_drift` | how costs move from round to round |
| `comparison` | all rules on the same drawn auctions: `python -m mechanisms study` |
| `contest` | who competes, rules of the user included |
| `repeated_auctions` | auctions in a row, policies that learn, and plans across rounds |
| `rounds` | what adds up over rounds and where misreports pay: `python -m mechanisms rounds` |
| `values` | how much of the best value rules buy |
| `statistics` | means with their spread and interval |
"""
