(* One proportional share (Singer, arXiv 1002.2334), and budget_fair, which runs one with B / T for
   every task, DEFINED from the bids. With one task max_min_fair IS the proportional share, so the
   laws of budget_fair follow from those of the default auction and are not proved again. *)
From Coq Require Import QArith Lqa Lia List Arith Bool.
Require Import Auction.
Import ListNotations.
Open Scope Q_scope.

Definition nobody : nat -> list Q := fun _ => [].      (* no outside sellers *)

Section Share.
Variables (N : nat) (B : Q).
Hypothesis budget_nonneg : 0 <= B.
Implicit Types b : profile.
Notation clients := (clients N).
Notation others := (others N).
Notation full := (fun b s => column nobody b clients s).

(* largest k with k b(k) <= B; the k cheapest are recruited at min(B / k, b(k+1)) *)
Definition share_level b (s : nat) : nat :=
  largest N (fun k => match kth (full b s) k with Some v => Qle_bool (nQ k * v) B | None => false
    end).
Definition full_rank b (i s : nat) : nat :=
  match b i s with Some a => rank N b i s a | None => N end.
Definition share_outcome b (i s : nat) : option Q :=
  match b i s, share_level b s with
  | Some a, S k => if (rank N b i s a <? S k)%nat
                   then Some (mn (kth (full b s) (S (S k))) (B / nQ (S k))) else None
  | _, _ => None
  end.

Definition same (o o' : option Q) : Prop := match o, o' with Some x, Some y => x == y | None,
  None => True | _, _ => False end.

(* the task as a one-task auction *)
Definition only b (s : nat) : profile := fun i _ => b i s.
Notation loo := (fun b i s => outcome N 1 B nobody (only b s) i 0).

Lemma nobody_nonneg t : nonneg (nobody t). Proof. intros x []. Qed.
Lemma only_nonneg b s : bids_nonneg b -> bids_nonneg (only b s).
Proof. intros H i t a E. exact (H i s a E). Qed.
Lemma column_only b cl s t : column nobody (only b s) cl t = column nobody b cl s.
Proof. reflexivity. Qed.

(* a client that bids more than c has everybody who bids at most c ahead *)
Lemma count_rank b i s a c : c < a -> (cnt (column nobody b (others i) s) c <= rank N b i s a)%nat.
Proof.
  intros H. unfold column. rewrite cnt_sort. simpl. unfold rank. generalize (others i) as l.
  induction l as [|j l IH]; [reflexivity|]. unfold bids in *. simpl. rewrite cnt_app.
  unfold ahead at 1, before. destruct (b j s) as [x|]; simpl; [|exact IH].
  rewrite cnt_cons. unfold cnt at 1. simpl. qcase x c; qcase a x; simpl; try lra;
    try (destruct (Qle_bool x a && (j <? i)%nat)); simpl; lia.
Qed.

Section Profile.
Variable b : profile.
Hypothesis nonneg_b : bids_nonneg b.
Variable s : nat.
Let bs := only b s.
Let nb : bids_nonneg bs := only_nonneg b s nonneg_b.
Lemma ord cl : ordered (column nobody b cl s). Proof. apply column_ordered. Qed.
Lemma nng cl : nonneg (column nobody b cl s).
Proof. apply column_nonneg; [exact nobody_nonneg|exact nonneg_b]. Qed.
Local Hint Resolve ord nng : core.

Definition share_ok k := match kth (full b s) k with Some v => Qle_bool (nQ k * v) B | None => false
  end.
Lemma share_ok_iff k : (1 <= k)%nat -> (share_ok k = true <-> (k <= cnt (full b s) (B / nQ k))%nat).
Proof.
  intros Hk. assert (R : 0 <= B / nQ k) by (apply Qle_shift_div_l; [apply nQ_pos1; lia|lra]).
  rewrite <- (kth_le _ k _ (ord clients) R). unfold share_ok. split.
  - destruct (kth (column nobody b clients s) k) as [v|]; [|discriminate]. intros H.
    apply qle_true in H. exists v.
    split; [reflexivity|]. apply Qle_shift_div_l; [apply nQ_pos1; lia|]. rewrite Qmult_comm.
      exact H.
  - intros (v & -> & Hv). apply qle_true. apply (mul_mono k) in Hv.
    rewrite share_mul in Hv; [exact Hv|lia].
Qed.
Lemma open_iff i k : (1 <= k)%nat ->
  (is_open N 1 B nobody bs i 0 k = true <-> (k - 1 <= cnt (column nobody b (others i) s) (B / nQ
    k))%nat).
Proof.
  intros Hk. assert (R : 0 <= B / nQ k) by (apply Qle_shift_div_l; [apply nQ_pos1; lia|lra]).
  rewrite <- (kth_le _ (k - 1) _ (ord (others i)) R). unfold is_open, winning, losers, tasks. simpl.
  change (column nobody bs (others i) 0) with (column nobody b (others i) s).
    set (l := column nobody b (others i) s).
  destruct (kth l (k - 1)) as [w|] eqn:Ew.
  - assert (W : 0 <= w) by (eapply kth_nonneg; [apply nng|exact Ew]).
    assert (C : mn (kth l k) (qmax w 0) == w).
    { assert (L : below w (kth l k)).
      { apply below_counts; [apply ord|apply nng|]. intros c Hc H.
        assert (A : exists v, kth l (k - 1) = Some v /\ v <= c).
        { apply kth_le; [apply ord|exact Hc|lia]. } destruct A as (v & Ev & Hv). rewrite Ew in Ev.
          injection Ev as <-. exact Hv. }
      unfold mn. destruct (kth l k) as [x|]; simpl in L; mm; lra. }
    unfold fits, capped. simpl. split; intros H.
    + apply qle_true in H. exists w. split; [reflexivity|].
      apply Qle_shift_div_l; [apply nQ_pos1; lia|].
      rewrite C in H. lra.
    + destruct H as (v & [= <-] & Hv). apply qle_true. rewrite C. apply (mul_mono k) in Hv.
      rewrite share_mul in Hv; [lra|lia].
  - split; [discriminate|]. intros (v & E & _). discriminate.
Qed.

Lemma count_full i c : (i < N)%nat -> cnt (full b s) c =
  ((match b i s with Some a => if Qle_bool a c then 1 else 0 | None => 0 end) + cnt (column nobody b
    (others i) s) c)%nat.
Proof. intros Hi. exact (full_count N nobody b i s c Hi). Qed.

Lemma price_one i k : (1 <= k)%nat -> exists p, price_at N 1 B nobody bs i 0 k = Some p /\
  p == mn (kth (column nobody b (others i) s) k) (B / nQ k).
Proof.
  intros Hk. assert (R : 0 <= B / nQ k) by (apply Qle_shift_div_l; [apply nQ_pos1; lia|lra]).
  unfold price_at, losers, tasks, water_level. simpl. change (column nobody bs (others i) 0) with
    (column nobody b (others i) s).
  destruct (kth (column nobody b (others i) s) k) as [x|]; simpl.
  - assert (D : B / nQ k / nQ 1 == B / nQ k) by (unfold nQ; simpl; field;
    pose proof (nQ_pos1 k Hk); unfold nQ in *; lra).
    set (r := B / nQ k) in *. qcase x (r / nQ 1); simpl.
    + eexists; split; [reflexivity|]. mm; lra.
    + eexists; split; [reflexivity|]. mm; lra.
  - assert (D : B / nQ k / nQ 1 == B / nQ k) by (unfold nQ; simpl; field;
    pose proof (nQ_pos1 k Hk); unfold nQ in *; lra).
    eexists; split; [reflexivity|exact D].
Qed.

Theorem one_task_is_proportional_share i : (i < N)%nat -> same (loo b i s) (share_outcome b i s).
Proof.
  intros Hi. unfold share_outcome. fold bs. pose proof (level N 1 B nobody bs i 0) as dummy;
    clear dummy.
  destruct (b i s) as [a|] eqn:Ea; [|unfold outcome, bs, only; rewrite Ea; exact I].
  assert (Rk : rank N bs i 0 a = rank N b i s a) by reflexivity.
  set (r := rank N b i s a) in *. set (oth := column nobody b (others i) s) in *.
  set (L := level N 1 B nobody bs i 0). set (K := share_level b s).
  assert (CF : forall c, cnt (full b s) c = ((if Qle_bool a c then 1 else 0) + cnt oth c)%nat).
  { intros c. rewrite (count_full i c Hi), Ea. reflexivity. }
  assert (LN : (L <= N)%nat) by apply largest_le. assert (KN : (K <= N)%nat) by apply largest_le.
  assert (KO : (1 <= K)%nat -> (K <= cnt (full b s) (B / nQ K))%nat).
  { intros HK. apply share_ok_iff; [exact HK|]. destruct K as [|K'] eqn:EK; [lia|].
    exact (largest_holds N share_ok K' EK). }
  assert (LO : (1 <= L)%nat -> (L - 1 <= cnt oth (B / nQ L))%nat).
  { intros HL. apply open_iff; [exact HL|]. destruct L as [|L'] eqn:EL; [lia|].
    exact (largest_holds N _ L' EL). }
  assert (KL : (K <= L)%nat).
  { destruct (Nat.eq_dec K 0) as [->|HK]; [lia|]. apply largest_ge; [lia|]. apply open_iff; [lia|].
    fold oth.
    specialize (KO ltac:(lia)). rewrite CF in KO. destruct (Qle_bool a _); lia. }
  assert (LK : (1 <= L)%nat -> a <= B / nQ L -> (L <= K)%nat).
  { intros HL Ha. apply (largest_ge N share_ok); [lia|]. apply share_ok_iff; [exact HL|].
    rewrite CF. specialize (LO HL).
    qcase a (B / nQ L); [lia|lra]. }
  assert (RC : (r <= cnt oth a)%nat) by (apply (rank_count N nobody b i s a)).
  assert (CR : forall c, c < a -> (cnt oth c <= r)%nat) by (intros c Hc; apply count_rank;
    exact Hc).
  assert (NX : forall k, (1 <= k)%nat -> below a (kth oth k) -> mn (kth oth k) (B / nQ k) == mn (kth
    (full b s) (S k)) (B / nQ k)).
  { intros k Hk Hb. apply Qle_antisym; apply mn_mono; try lra; apply obelow_counts; try apply ord;
    try apply nng; intros c Hc.
    - rewrite CF. destruct (Qle_bool a c); lia.
    - intros H. rewrite CF. pose proof (counts_below oth k a c (ord _) Hc Hb H).
      qcase a c; [lia|lra]. }
  unfold outcome. change (bs i 0%nat) with (b i s). rewrite Ea. unfold price. fold L. rewrite Rk.
  destruct L as [|L'] eqn:EL.
  { assert (K = 0)%nat as -> by lia. exact I. }
  destruct (price_one i (S L') ltac:(lia)) as (p & Hp & Ep). rewrite Hp. fold oth in Ep.
    rewrite <- EL in *.
  destruct (Qle_bool a p && (r <? L)%nat) eqn:EW.
  - apply andb_prop in EW as [W1 W2]. apply qle_true in W1. apply Nat.ltb_lt in W2.
    rewrite Ep in W1.
    assert (A1 : below a (kth oth L) /\ a <= B / nQ L). { unfold mn in W1.
      destruct (kth oth L); simpl in *; [mm; lra|split; [exact I|exact W1]]. }
    assert (L = K) as EK by (apply Nat.le_antisymm; [apply LK; [lia|apply A1]|exact KL]).
      rewrite <- EK.
    rewrite EL at 1. assert (W3 : (r <? L)%nat = true) by (apply Nat.ltb_lt; exact W2).
      rewrite EL in W3. rewrite W3. simpl.
    rewrite Ep. rewrite (NX L ltac:(lia) (proj1 A1)). rewrite EL. reflexivity.
  - destruct K as [|K'] eqn:EK; [exact I|]. destruct (r <? S K')%nat eqn:ER; [|exact I]. exfalso.
    rewrite <- EK in *.
    apply Nat.ltb_lt in ER. specialize (KO ltac:(lia)).
    assert (aK : forall c, (K <= cnt (full b s) c)%nat -> a <= c).
    { intros c Hc. apply Qnot_lt_le. intros C. specialize (CR c C). rewrite CF in Hc.
      qcase a c; [lra|lia]. }
    assert (L = K) as E.
    { apply Nat.le_antisymm; [|exact KL]. apply Nat.nlt_ge. intros C.
      assert (C' : (L <= K)%nat); [|lia]. apply LK; [lia|].
      apply aK. rewrite CF. specialize (LO ltac:(lia)). lia. }
    assert (a <= p).
    { rewrite Ep, E. assert (A1 : a <= B / nQ K) by (apply aK; exact KO). unfold mn.
      destruct (kth oth K) as [x|] eqn:Ex; [|exact A1].
      assert (a <= x). { apply aK. rewrite CF. assert (K <= cnt oth x)%nat; [|lia].
        apply kth_le; [apply ord| |exists x; split; [exact Ex|lra]].
        eapply kth_nonneg; [apply nng|exact Ex]. } mm; lra. }
    apply andb_false_iff in EW as [W|W]; [apply qle_false in W; lra|apply Nat.ltb_ge in W; lia].
Qed.
End Profile.
End Share.

(* budget_fair: every task runs its own proportional share with B / T *)
Definition fair_outcome N T B (b : profile) (i s : nat) : option Q := share_outcome N (B / nQ T) b i
  s.
Definition fair_pay N T B b s i : Q := match fair_outcome N T B b i s with Some p => p | None => 0
  end.
Definition fair_spend N T B b : Q := sumQ (map (fun s => sumQ (map (fair_pay N T B b s) (clients
  N))) (tasks T)).
Definition fair_utility N T B (b : profile) (i : nat) (cost : nat -> option Q) : option Q :=
  total (map (fun s => gain (fair_outcome N T B b i s) (cost s)) (tasks T)).

Section Fair.
Variables (N T : nat) (B : Q).
Hypothesis budget_nonneg : 0 <= B.
Let R : 0 <= B / nQ T.
Proof. destruct T as [|k]; [unfold nQ; simpl; unfold Qdiv, Qinv; simpl; lra|].
  apply Qle_shift_div_l; [apply nQ_pos1; lia|lra]. Qed.

Theorem fair_individually_rational b i s p : (i < N)%nat -> bids_nonneg b -> fair_outcome N T B b i
  s = Some p ->
  exists a, b i s = Some a /\ a <= p.
Proof.
  intros Hi Hb E. pose proof (one_task_is_proportional_share N (B / nQ T) R b Hb s i Hi) as S.
    unfold fair_outcome in E.
  rewrite E in S. unfold same in S. destruct (outcome _ _ _ _ _ i 0) as [q|] eqn:Eq;
    [|contradiction].
  destruct (individually_rational N 1 (B / nQ T) nobody R (only b s) i 0%nat q Eq) as (a & Ea & Ha).
    exists a. split; [exact Ea|lra].
Qed.
Lemma ule_same o o' c : same o o' -> ule (gain o c) (gain o' c) /\ ule (gain o' c) (gain o c).
Proof. destruct o, o'; simpl; intros H; try contradiction; [destruct c; simpl; [split;
  lra|auto]|split; lra]. Qed.
Lemma ule_trans u v w : ule u v -> ule v w -> ule u w.
Proof. destruct u, v, w; simpl; intros; try exact I; try contradiction; lra. Qed.
Theorem fair_truthful b b' i : (i < N)%nat -> bids_nonneg b -> bids_nonneg b' -> agree_but i b b' ->
  ule (fair_utility N T B b' i (b i)) (fair_utility N T B b i (b i)).
Proof.
  intros Hi Hb Hb' H. unfold fair_utility. apply total_mono. intros s _. unfold fair_outcome.
  pose proof (one_task_is_proportional_share N (B / nQ T) R b Hb s i Hi) as S1.
  pose proof (one_task_is_proportional_share N (B / nQ T) R b' Hb' s i Hi) as S2.
  apply ule_trans with (gain (outcome N 1 (B / nQ T) nobody (only b' s) i 0) (b i s));
    [exact (proj2 (ule_same _ _ _ S2))|].
  apply ule_trans with (gain (outcome N 1 (B / nQ T) nobody (only b s) i 0) (b i s));
    [|exact (proj1 (ule_same _ _ _ S1))].
  assert (A : agree_but i (only b s) (only b' s)) by (intros j t Hj; exact (H j s Hj)).
  destruct (b i s) as [c|] eqn:Ec.
  - pose proof (task_truthful N 1 (B / nQ T) nobody R (only b s) (only b' s) i 0%nat A c Ec) as [G
    _].
    unfold only in G at 2 4. rewrite Ec in G. exact G.
  - rewrite (task_no_bid N 1 (B / nQ T) nobody (only b s) i 0%nat Ec). simpl.
    destruct (outcome _ _ _ _ _ i 0); simpl; [exact I|lra].
Qed.
Theorem fair_within_budget b : bids_nonneg b -> fair_spend N T B b <= B.
Proof.
  intros Hb. unfold fair_spend. apply Qle_trans with (sumQ (map (fun _ : nat => B / nQ T) (tasks
    T))).
  - apply sum_le. intros s _. pose proof (within_budget N 1 (B / nQ T) nobody R nobody_nonneg (only
    b s) (only_nonneg b s Hb)) as W.
    unfold spend, tasks in W. simpl in W. eapply Qle_trans; [|apply Qle_trans with (2 := W)].
    + apply (sum_le (fair_pay N T B b s) (pay N 1 (B / nQ T) nobody (only b s) 0)). intros i Hi.
      unfold clients in Hi. apply in_seq in Hi.
      pose proof (one_task_is_proportional_share N (B / nQ T) R b Hb s i ltac:(lia)) as S.
        unfold fair_pay, fair_outcome, pay, same in *.
      destruct (outcome _ _ _ _ _ i 0), (share_outcome _ _ _ _ _); try contradiction; lra.
    + lra.
  - assert (E : forall l : list nat, sumQ (map (fun _ => B / nQ T) l) == nQ (length l) * (B / nQ
    T)).
    { induction l as [|x l IH]; simpl; [rewrite nQ_0; lra|]. rewrite nQ_S, IH. lra. }
    rewrite E. unfold tasks. rewrite seq_length. destruct T as [|k]; [rewrite nQ_0; lra|].
      rewrite share_mul; [lra|lia].
Qed.
End Fair.
