(* Wrong relatives of CLW for clients that do at most one task, each with one auction on which it
   fails: the kernel computes it. *)
From Coq Require Import QArith Lqa List Arith Bool ZArith.
Require Import Auction ProportionalShare Assignment Menu ClearingLevels.
Import ListNotations.
Open Scope Q_scope.

Definition rows_profile (rows : list (list (option Q))) : profile :=
  fun i t => nth t (nth i rows []) None.
Definition row_of (asks : list Q) : list (option Q) := map Some asks.

(* the default auction, of which a client keeps the first task that it wins *)
Definition first_kept (N T : nat) (B : Q) (b : profile) (i : nat) : option (nat * Q) :=
  hd None (flat_map (fun s => match outcome N T B nobody b i s with
    | Some p => [Some (s, p)] | None => [] end) (tasks T)).
(* one level for everybody, the largest that the bids of all can pay, at the prices there *)
Definition one_level_for_all (N T : nat) (B : Q) (b : profile) (i : nat) : option (nat * Q) :=
  let everybody := tabulated T (S (N / T)) (map (own_row T b) (clients N)) in
  match largest (N / T) (uncapped_fits T B false everybody) with
  | O => None
  | k => served T (own_row T b i) (costs_of_others N T (rows_of_others N T b i)) k None
  end.

Definition rule_of_unit_demand := forall N T : nat, Q -> profile -> nat -> option (nat * Q).
Definition truthful_for_unit_demand (rule : rule_of_unit_demand) : Prop :=
  forall N T B b b' i, 0 <= B -> bids_nonneg b -> bids_nonneg b' -> (i < N)%nat ->
  agree_but i b b' ->
  ule (unit_utility (rule N T B b' i) (b i)) (unit_utility (rule N T B b i) (b i)).

Lemma rows_nonneg rows : forallb (fun r => forallb (fun o => match o with
    | Some a => Qle_bool 0 a | None => true end) r) rows = true -> bids_nonneg (rows_profile rows).
Proof.
  intros H i t a E. rewrite forallb_forall in H. unfold rows_profile in E.
  destruct (nth_in_or_default i rows []) as [I1|I1];
    [|rewrite I1 in E; destruct t; discriminate].
  specialize (H _ I1). rewrite forallb_forall in H.
  destruct (nth_in_or_default t (nth i rows []) None) as [I2|I2]; [|congruence].
  specialize (H _ I2). rewrite E in H. apply Qle_bool_iff. exact H.
Qed.
Lemma rows_agree_but i rows rows' : (forall j, j <> i -> nth j rows [] = nth j rows' []) ->
  agree_but i (rows_profile rows) (rows_profile rows').
Proof. intros H j t Hj. unfold rows_profile. rewrite (H j Hj). reflexivity. Qed.
Ltac other_rows := intros j Hj; do 4 (destruct j as [|j]; [try reflexivity; congruence|]);
  destruct j; reflexivity.

Definition uleb (u v : option Q) : bool :=
  match u, v with None, _ => true | Some x, Some y => Qle_bool x y | Some _, None => false end.
Lemma gains_by_lying u v : uleb u v = false -> ~ ule u v.
Proof.
  destruct u, v; simpl; try discriminate; intros H C; [|exact C].
  apply Qle_bool_iff in C. congruence.
Qed.

(* (2, 1) wins task 0 at 3; asking (5, 0) it wins task 1 at 6, and task 0 no longer *)
Theorem first_kept_not_truthful : ~ truthful_for_unit_demand first_kept.
Proof.
  intros H. specialize (H 3%nat 2%nat 12
    (rows_profile [row_of [8; 8]; row_of [2; 1]; row_of [3; 8]])
    (rows_profile [row_of [8; 8]; row_of [5; 0]; row_of [3; 8]]) 1%nat).
  eapply gains_by_lying; [|apply H; [lra|apply rows_nonneg; reflexivity|apply rows_nonneg;
    reflexivity|auto|apply rows_agree_but; other_rows]]. vm_compute. reflexivity.
Qed.
(* (0, 1) gets nothing; asking (0, 0) it makes the level affordable and wins task 0 at 1 *)
Theorem one_level_for_all_not_truthful : ~ truthful_for_unit_demand one_level_for_all.
Proof.
  intros H. specialize (H 3%nat 2%nat 2
    (rows_profile [row_of [0; 0]; row_of [0; 1]; [Some 1; None]])
    (rows_profile [row_of [0; 0]; row_of [0; 0]; [Some 1; None]]) 1%nat).
  eapply gains_by_lying; [|apply H; [lra|apply rows_nonneg; reflexivity|apply rows_nonneg;
    reflexivity|auto|apply rows_agree_but; other_rows]]. vm_compute. reflexivity.
Qed.
(* clients left at the level below stay in the dear task while their replacements arrive *)
Theorem without_slack_overspends :
  ~ (forall N T B b, 0 <= B -> bids_nonneg b -> clw_spend N T B false b <= B).
Proof.
  intros H. specialize (H 7%nat 2%nat 6 (rows_profile (map row_of
    [[2; 2]; [3; 1]; [1; 0]; [2; 3]; [3; 3]; [3; 3]; [2; 1]]))).
  assert (F : Qle_bool (clw_spend 7 2 6 false (rows_profile (map row_of
    [[2; 2]; [3; 1]; [1; 0]; [2; 3]; [3; 3]; [3; 3]; [2; 1]]))) 6 = false)
    by (vm_compute; reflexivity).
  apply qle_false in F. apply (Qlt_not_le _ _ F), H; [lra|apply rows_nonneg; reflexivity].
Qed.
