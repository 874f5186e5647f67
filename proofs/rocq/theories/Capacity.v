(* A client that can serve only m tasks and faces prices that its bids do not enter gets the (at
   most) m tasks where price minus bid is largest and positive. No report beats the truth, for any
   list of tasks, any prices, any capacity. Applied to max_min_fair: truthful and within budget. *)
From Coq Require Import QArith Lqa Lia List Arith Bool.
Require Import Auction.
Import ListNotations.
Open Scope Q_scope.

(* tasks in falling order of margin; a tie goes to the earlier task *)
Fixpoint put (t : nat) (margin : nat -> Q) (l : list nat) : list nat :=
  match l with [] => [t] | u :: r => if Qle_bool (margin u) (margin t) then t :: l else u :: put t
    margin r end.
Fixpoint by_margin (margin : nat -> Q) (l : list nat) : list nat :=
  match l with [] => [] | t :: r => put t margin (by_margin margin r) end.
Definition positive (margin : nat -> Q) (t : nat) : bool := negb (Qle_bool (margin t) 0).
Definition best (m : nat) (margin : nat -> Q) (ts : list nat) : list nat :=
  firstn m (filter (positive margin) (by_margin margin ts)).
Definition value (margin : nat -> Q) (ts : list nat) : Q := sumQ (map margin ts).

Lemma in_put t u margin l : In u (put t margin l) <-> u = t \/ In u l.
Proof. induction l as [|v l IH]; simpl; [intuition|]. destruct (Qle_bool _ _); simpl; [intuition|].
  rewrite IH. intuition. Qed.
Lemma in_by_margin u margin l : In u (by_margin margin l) <-> In u l.
Proof. induction l as [|t l IH]; simpl; [intuition|]. rewrite in_put, IH. intuition. Qed.
Lemma nodup_put t margin l : NoDup (t :: l) -> NoDup (put t margin l).
Proof.
  induction l as [|u l IH]; intros H; simpl; [exact H|]. destruct (Qle_bool _ _); [exact H|].
  inversion H as [|? ? H1 H2]; subst. inversion H2; subst. constructor.
  - rewrite in_put. intros [->|C]; [apply H1; left; reflexivity|contradiction].
  - apply IH. constructor; [intros C; apply H1; right; exact C|assumption].
Qed.
Lemma nodup_by_margin margin l : NoDup l -> NoDup (by_margin margin l).
Proof.
  induction l as [|t l IH]; intros H; simpl; [constructor|]. inversion H; subst. apply nodup_put.
    constructor; [|auto].
  rewrite in_by_margin. assumption.
Qed.
Fixpoint falling (margin : nat -> Q) (l : list nat) : Prop :=
  match l with [] => True | t :: r => (forall u, In u r -> margin u <= margin t) /\ falling margin r
    end.
Lemma falling_put t margin l : falling margin l -> falling margin (put t margin l).
Proof.
  induction l as [|u l IH]; simpl; [intuition|]. intros [H1 H2]. qcase (margin u) (margin t); simpl.
  - split; [|auto]. intros v [<-|Hv]; [exact E|]. specialize (H1 v Hv). lra.
  - split; [|auto]. intros v Hv. apply in_put in Hv as [->|Hv]; [lra|auto].
Qed.
Lemma falling_by_margin margin l : falling margin (by_margin margin l).
Proof. induction l; simpl; [exact I|]. apply falling_put; assumption. Qed.
Lemma falling_filter margin f l : falling margin l -> falling margin (filter f l).
Proof.
  induction l as [|t l IH]; simpl; [auto|]. intros [H1 H2]. destruct (f t); simpl; [|auto].
    split; [|auto].
  intros u Hu. apply filter_In in Hu. apply H1; tauto.
Qed.

Lemma value_middle margin t A1 A2 : value margin (A1 ++ t :: A2) == margin t + value margin (A1 ++
  A2).
Proof. unfold value. induction A1 as [|u A1 IH]; simpl; [lra|]. rewrite IH. lra. Qed.
(* the m largest of a falling list of positive numbers beat any other choice of at most m *)
Lemma top_is_best margin : forall l m A, falling margin l -> (forall t, In t l -> 0 < margin t) ->
  NoDup A -> (length A <= m)%nat -> (forall t, In t A -> ~ In t l -> margin t <= 0) ->
  value margin A <= value margin (firstn m l).
Proof.
  induction l as [|t l IH]; intros m A Hf Hp Hn Hl Ho.
  - rewrite firstn_nil. unfold value. simpl. assert (G : forall A, (forall u,
    In u A -> margin u <= 0) -> sumQ (map margin A) <= 0).
    { clear. induction A as [|u A IH]; intros H; simpl; [lra|].
      pose proof (H u (or_introl eq_refl)).
      assert (IH' := IH (fun v Hv => H v (or_intror Hv))). lra. }
    apply G. intros u Hu. apply Ho; [exact Hu|intros []].
  - destruct m as [|m]; [destruct A; [unfold value; simpl; lra|simpl in Hl; lia]|]. simpl firstn.
    destruct Hf as [H1 H2]. assert (Ht : 0 < margin t) by (apply Hp; left; reflexivity).
    destruct (in_dec Nat.eq_dec t A) as [Hin|Hout].
    + apply in_split in Hin as (A1 & A2 & ->).
      pose proof (value_middle margin t A1 A2) as E.
      unfold value in *. simpl. rewrite E. assert (IH' := IH m (A1 ++ A2) H2 (fun u Hu => Hp u
        (or_intror Hu))).
      enough (sumQ (map margin (A1 ++ A2)) <= sumQ (map margin (firstn m l))) by lra. apply IH'.
      * eapply NoDup_remove_1; exact Hn.
      * rewrite app_length in *. simpl in Hl. lia.
      * intros u Hu Hul. apply Ho; [apply in_app_or in Hu; apply in_or_app; simpl; intuition|].
        intros [->|C]; [|contradiction]. apply (NoDup_remove_2 _ _ _ Hn). exact Hu.
    + (* replace any element of A by t *)
      destruct A as [|u A].
      * unfold value. simpl. assert (G : forall l m, (forall u,
        In u l -> 0 < margin u) -> 0 <= sumQ (map margin (firstn m l))).
        { clear. induction l as [|u l IH]; intros m H; destruct m; simpl; try lra.
          pose proof (H u (or_introl eq_refl)).
          assert (IH' := IH m (fun v Hv => H v (or_intror Hv))). lra. }
        assert (Z := G l m (fun u Hu => Hp u (or_intror Hu))). lra.
      * assert (U : margin u <= margin t).
        { destruct (in_dec Nat.eq_dec u l) as [Hu|Hu]; [apply H1; exact Hu|].
          assert (margin u <= 0); [|lra]. apply Ho; [left; reflexivity|].
            intros [->|C]; [apply Hout; left; reflexivity|contradiction]. }
        unfold value in *. simpl. assert (IH' := IH m A H2 (fun v Hv => Hp v (or_intror Hv))).
          inversion Hn; subst.
        enough (sumQ (map margin A) <= sumQ (map margin (firstn m l))) by lra.
          apply IH'; [assumption|simpl in Hl; lia|].
        intros v Hv Hvl. apply Ho; [right; exact Hv|]. intros [->|C]; [apply Hout; right;
          exact Hv|contradiction].
Qed.
Theorem best_is_best m margin ts A : NoDup A -> incl A ts -> (length A <= m)%nat ->
  value margin A <= value margin (best m margin ts).
Proof.
  intros Hn Hi Hl. unfold best. apply top_is_best; auto.
  - apply falling_filter, falling_by_margin.
  - intros t Ht. apply filter_In in Ht as [_ Ht]. unfold positive in Ht.
    apply negb_true_iff, qle_false in Ht. exact Ht.
  - intros t Ht Hno. apply Qnot_lt_le. intros C. apply Hno. apply filter_In.
    split; [apply in_by_margin; apply Hi; exact Ht|].
    unfold positive. apply negb_true_iff, qle_false. exact C.
Qed.

Lemma firstn_in {A} (l : list A) : forall m t, In t (firstn m l) -> In t l.
Proof. induction l as [|y l IH]; intros [|k] t C; simpl in C; try contradiction.
  destruct C as [->|C]; [left; reflexivity|right; eapply IH; exact C]. Qed.
Lemma firstn_nodup {A} (l : list A) : NoDup l -> forall m, NoDup (firstn m l).
Proof. induction 1 as [|x l Hx Hl IH]; intros [|m]; simpl; constructor; auto. intros C. apply Hx.
  eapply firstn_in; exact C. Qed.
Lemma best_facts m margin ts : NoDup ts -> NoDup (best m margin ts) /\ incl (best m margin ts) ts /\
  (length (best m margin ts) <= m)%nat
  /\ forall t, In t (best m margin ts) -> 0 < margin t.
Proof.
  intros Hn. unfold best. repeat split.
  - apply firstn_nodup, NoDup_filter, nodup_by_margin. exact Hn.
  - intros t Ht. apply firstn_in, filter_In in Ht as [Ht _]. apply in_by_margin in Ht. exact Ht.
  - rewrite firstn_length. lia.
  - intros t Ht. apply firstn_in, filter_In in Ht as [_ Ht]. unfold positive in Ht.
    apply negb_true_iff, qle_false in Ht. exact Ht.
Qed.

(* Truthfulness: prices p are fixed, the client reports r, its costs are c. *)
Theorem capacity_truthful m (p r c : nat -> Q) ts : NoDup ts ->
  value (fun t => p t - c t) (best m (fun t => p t - r t) ts) <= value (fun t => p t - c t) (best m
    (fun t => p t - c t) ts).
Proof.
  intros Hn. destruct (best_facts m (fun t => p t - r t) ts Hn) as (H1 & H2 & H3 & _).
    apply best_is_best; assumption.
Qed.

(* The default auction with capacities: of the tasks that client i could win,
  the m i with the largest margins. *)
Section CapacityAuction.
Variables (N T : nat) (B : Q) (outside : nat -> list Q) (m : nat -> nat).
Hypothesis budget_nonneg : 0 <= B.
Hypothesis outside_nonneg : forall t, nonneg (outside t).
Definition margin (b : profile) (i s : nat) : Q :=
  match outcome N T B outside b i s, b i s with Some p, Some a => p - a | _, _ => 0 end.
Definition chosen (b : profile) (i : nat) : list nat := best (m i) (margin b i) (tasks T).
Definition capacity_pay (b : profile) (s i : nat) : Q :=
  if in_dec Nat.eq_dec s (chosen b i) then pay N T B outside b s i else 0.
Theorem capacity_within_budget b : bids_nonneg b ->
  sumQ (map (fun s => sumQ (map (capacity_pay b s) (clients N))) (tasks T)) <= B.
Proof.
  intros Hb. eapply Qle_trans; [|exact (within_budget N T B outside budget_nonneg outside_nonneg b
    Hb)].
  unfold spend. apply sum_le. intros s _. apply sum_le. intros i _. unfold capacity_pay.
  destruct (in_dec _ _ _); [lra|]. unfold pay. destruct (outcome N T B outside b i s) as [p|] eqn:E;
    [|lra].
  destruct (individually_rational N T B outside budget_nonneg b i s p E) as (a & Ea & Ha).
    specialize (Hb i s a Ea). lra.
Qed.
Lemma chosen_facts b i : NoDup (chosen b i) /\ incl (chosen b i) (tasks T) /\ (length (chosen b i)
  <= m i)%nat /\
  forall s, In s (chosen b i) -> 0 < margin b i s.
Proof. apply best_facts, seq_NoDup. Qed.
Theorem capacity_kept b i : (length (chosen b i) <= m i)%nat.
Proof. apply chosen_facts. Qed.

Definition capacity_utility (b : profile) (i : nat) (cost : nat -> option Q) : option Q :=
  total (map (fun s => gain (outcome N T B outside b i s) (cost s)) (chosen b i)).
Lemma total_some (f : nat -> option Q) g l : (forall s, In s l -> f s = Some (g s)) -> total (map f
  l) = Some (value g l).
Proof.
  induction l as [|s l IH]; intros H; simpl; [reflexivity|]. rewrite (H s (or_introl eq_refl)).
  rewrite IH; [reflexivity|]. intros u Hu. apply H. right. exact Hu.
Qed.
Theorem capacity_auction_truthful b b' i : agree_but i b b' -> ule (capacity_utility b' i (b i))
  (capacity_utility b i (b i)).
Proof.
  intros H. unfold capacity_utility. destruct (chosen_facts b' i) as (N1 & I1 & L1 & P1).
  destruct (chosen_facts b i) as (_ & _ & _ & P2).
  rewrite (total_some (fun s => gain (outcome N T B outside b i s) (b i s)) (margin b i) (chosen b
    i)).
  2:{ intros s Hs. specialize (P2 s Hs). unfold margin in *.
    destruct (outcome N T B outside b i s) as [p|]; [|lra].
      destruct (b i s) as [a|]; [reflexivity|lra]. }
  assert (M : ule (total (map (fun s => gain (outcome N T B outside b' i s) (b i s)) (chosen b' i)))
                  (total (map (fun s => Some (margin b i s)) (chosen b' i)))).
  { apply total_mono. intros s Hs. destruct (b i s) as [c|] eqn:Ec.
    - pose proof (task_truthful N T B outside budget_nonneg b b' i s H c Ec) as [G _].
      rewrite Ec in G.
      assert (E : gain (outcome N T B outside b i s) (Some c) = Some (margin b i s)).
      { unfold margin. rewrite Ec. destruct (outcome N T B outside b i s); reflexivity. }
      rewrite E in G. exact G.
    - specialize (P1 s Hs). unfold margin in P1. destruct (outcome N T B outside b' i s) as [p|];
      [exact I|lra]. }
  rewrite (total_some (fun s => Some (margin b i s)) (margin b i) (chosen b' i)) in M by
    reflexivity.
  assert (V : value (margin b i) (chosen b' i) <= value (margin b i) (chosen b i)) by (apply
    best_is_best; assumption).
  destruct (total _) as [x|]; [|exact I]. simpl in *. lra.
Qed.
End CapacityAuction.
