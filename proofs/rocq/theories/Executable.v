(* The rules as programs on tables of bids: compared with the code inside the kernel, and extracted to
   OCaml with nothing replaced by hand, not even the integers. *)
From Coq Require Import QArith List Arith Extraction ExtrOcamlBasic.
Require Import Auction ProportionalShare Capacity ClearingLevels.
Import ListNotations.

Definition rows := list (list (option Q)).
Definition table (bids : rows) : profile := fun i t => nth t (nth i bids []) None.
Definition grid {A} (N T : nat) (f : nat -> nat -> A) : list (list A) :=
  map (fun i => map (f i) (seq 0 T)) (seq 0 N).

(* reserve: for each task None, or the price of an outside seller, above which bids are ignored *)
Definition reserved (reserve : list (option Q)) (b : profile) : profile := fun i t =>
  match nth t reserve None, b i t with
  | Some r, Some a => if Qle_bool a r then Some a else None
  | _, bid => bid
  end.
Definition sellers (N : nat) (reserve : list (option Q)) (t : nat) : list Q :=
  match nth t reserve None with Some r => repeat r (N + 1) | None => [] end.

Definition run_max_min (N T : nat) (B : Q) (reserve : list (option Q)) (bids : rows) : rows :=
  grid N T (outcome N T B (sellers N reserve) (reserved reserve (table bids))).
Definition run_fair (N T : nat) (B : Q) (bids : rows) : rows :=
  grid N T (fair_outcome N T B (table bids)).

(* every offer, accepted or not: level and price *)
Definition run_offers (N T : nat) (B : Q) (reserve : list (option Q)) (bids : rows) :=
  let b := reserved reserve (table bids) in
  let o := sellers N reserve in
  grid N T (fun i s => (level N T B o b i s, price N T B o b i s)).

(* the default auction with a capacity for every client *)
Definition run_capacities (N T : nat) (B : Q) (reserve : list (option Q)) (capacities : list nat)
    (bids : rows) : rows :=
  let b := reserved reserve (table bids) in
  let o := sellers N reserve in
  let m := fun i => nth i capacities O in
  grid N T (fun i s =>
    if in_dec Nat.eq_dec s (chosen N T B o m b i) then outcome N T B o b i s else None).

(* clearing levels, for clients that do at most one task *)
Definition run_clearing (N T : nat) (B : Q) (bids : rows) : rows :=
  map (fun i => let got := clw N T B true (table bids) i in
    map (fun s => match got with
      | Some (t, p) => if (t =? s)%nat then Some p else None | None => None end) (seq 0 T))
    (seq 0 N).

(* comparisons inside the kernel *)
Definition same_amount (o o' : option Q) : bool :=
  match o, o' with Some x, Some y => Qeq_bool x y | None, None => true | _, _ => false end.
Fixpoint all2 {A} (f : A -> A -> bool) (l l' : list A) : bool :=
  match l, l' with [], [] => true | x :: r, y :: r' => f x y && all2 f r r' | _, _ => false end.
Definition same_rows : rows -> rows -> bool := all2 (all2 same_amount).
Record case := {
  clients_of : nat; tasks_of : nat; budget_of : Q; reserve_of : list (option Q);
  capacities_of : list nat; bids_of : rows;
  max_min_of : rows; fair_of : rows; capacity_outcome_of : rows;
  clearing_of : rows }.
Definition agrees (c : case) : bool :=
  same_rows (run_max_min (clients_of c) (tasks_of c) (budget_of c) (reserve_of c) (bids_of c))
    (max_min_of c) &&
  same_rows (run_fair (clients_of c) (tasks_of c) (budget_of c) (bids_of c)) (fair_of c) &&
  same_rows (run_capacities (clients_of c) (tasks_of c) (budget_of c) (reserve_of c)
    (capacities_of c) (bids_of c)) (capacity_outcome_of c) &&
  same_rows (run_clearing (clients_of c) (tasks_of c) (budget_of c) (bids_of c)) (clearing_of c).
