(* Clients that do at most one task. Everyone is shown a menu of tasks with prices, which its own
   bids do not enter, and gets an item of largest reported surplus, or nothing. Then no report beats
   the truth, however all the bids of a row are changed at once, and the truth earns at least 0. For
   every number of clients and tasks, every menu, and every way of breaking ties. *)
From Coq Require Import QArith Lqa Lia List Arith Bool.
Require Import Auction.
Import ListNotations.
Open Scope Q_scope.

(* what a client gets: a task and what it is paid; None = nothing *)
Notation item := (nat * Q)%type.

(* of largest surplus p - a among the tasks that the client bids on; never of negative surplus *)
Definition is_best (menu : list item) (bid : nat -> option Q) (got : option item) : Prop :=
  match got with
  | Some (s, p) => In (s, p) menu /\ exists a, bid s = Some a /\ a <= p /\
      forall t q c, In (t, q) menu -> bid t = Some c -> q - c <= p - a
  | None => forall t q c, In (t, q) menu -> bid t = Some c -> q <= c
  end.
Definition unit_utility (got : option item) (cost : nat -> option Q) : option Q :=
  match got with Some (s, p) => gain (Some p) (cost s) | None => Some 0 end.

Section Menu.
Variables (menu : profile -> nat -> list item) (rule : profile -> nat -> option item).
Hypothesis reads_others : forall b b' i, agree_but i b b' -> menu b i = menu b' i.
Hypothesis serves_best : forall b i, is_best (menu b i) (b i) (rule b i).

Theorem menu_truthful b b' i : agree_but i b b' ->
  ule (unit_utility (rule b' i) (b i)) (unit_utility (rule b i) (b i)).
Proof.
  intros H. pose proof (serves_best b i) as Best. pose proof (serves_best b' i) as Lie.
  rewrite <- (reads_others b b' i H) in Lie. unfold unit_utility.
  destruct (rule b' i) as [(t, q)|].
  - destruct Lie as [Ht _]. simpl gain at 1. destruct (b i t) as [c|] eqn:Ec; [|exact I].
    destruct (rule b i) as [(s, p)|]; simpl in Best.
    + destruct Best as (_ & a & Ea & _ & M). simpl. rewrite Ea. simpl. exact (M t q c Ht Ec).
    + simpl. specialize (Best t q c Ht Ec). lra.
  - destruct (rule b i) as [(s, p)|]; simpl in *; [|lra].
    destruct Best as (_ & a & Ea & Hap & _). rewrite Ea. simpl. lra.
Qed.
Theorem menu_individually_rational b i s p : rule b i = Some (s, p) ->
  exists a, b i s = Some a /\ a <= p.
Proof.
  intros E. pose proof (serves_best b i) as H. rewrite E in H.
  destruct H as (_ & a & Ea & Hap & _). exists a. auto.
Qed.
End Menu.
