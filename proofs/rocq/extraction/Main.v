From Coq Require Import Extraction ExtrOcamlBasic.
Require Import Executable.
Extraction "rules.ml" run_max_min run_fair run_offers run_capacities run_clearing.
