(* Every task recruits at least floor((k* - 1) / 2) clients, where k* is the level of greedy_max_min:
   the largest k for which the k cheapest bids of all tasks cost at most B together. *)
From Coq Require Import QArith Lqa Lia List Arith Bool.
Require Import Auction ProportionalShare.
Import ListNotations.
Open Scope Q_scope.

Lemma length_insert x l : length (insert x l) = S (length l).
Proof. induction l as [|y l IH]; simpl; [reflexivity|]. destruct (Qle_bool x y); simpl; auto. Qed.
Lemma length_sort l : length (sort l) = length l.
Proof. induction l as [|x l IH]; simpl; [reflexivity|]. rewrite length_insert, IH. reflexivity. Qed.
Lemma repeat_below v : forall l m, (forall y, In y l -> v <= y) -> (m <= length l)%nat -> nQ m * v
  <= sumQ (firstn m l).
Proof.
  induction l as [|x l IH]; intros [|m] H L; simpl in *; try lia; try (rewrite nQ_0; lra).
    rewrite nQ_S.
  pose proof (H x (or_introl eq_refl)). assert (IH' := IH m (fun y Hy => H y (or_intror Hy))
    ltac:(lia)). lra.
Qed.
Lemma tail_sum : forall j l m v, ordered l -> nonneg l -> nth_error l j = Some v -> (j + m <= length
  l)%nat ->
  nQ m * v <= sumQ (firstn (j + m) l).
Proof.
  induction j as [|j IH]; intros [|x l] m v Ho Hn E L; simpl in *; try discriminate.
  - injection E as ->. destruct Ho as [H1 H2]. apply (repeat_below v (v :: l)); [|exact L].
    intros y [<-|Hy]; [lra|auto].
  - destruct Ho as [_ Ho]. assert (N : nonneg l) by (intros y Hy; apply Hn; right; exact Hy).
    specialize (IH l m v Ho N E ltac:(lia)). pose proof (Hn x (or_introl eq_refl)). lra.
Qed.
Lemma firstn_mono l : nonneg l -> forall j k, (j <= k)%nat -> sumQ (firstn j l) <= sumQ (firstn k
  l).
Proof.
  induction l as [|x l IH]; intros Hn j k H; [rewrite !firstn_nil; lra|].
  assert (N : nonneg l) by (intros y Hy; apply Hn; right; exact Hy).
    pose proof (Hn x (or_introl eq_refl)).
  destruct j as [|j], k as [|k]; simpl; try lra; try lia.
  - assert (A := IH N 0%nat k ltac:(lia)). simpl in A. lra.
  - assert (A := IH N j k ltac:(lia)). lra.
Qed.

Section Floor.
Variables (N T : nat) (B : Q).
Hypothesis budget_nonneg : 0 <= B.
Variable b : profile.
Hypothesis nonneg_b : bids_nonneg b.
Notation clients := (clients N).
Notation tasks := (tasks T).
Notation others := (others N).
Notation full := (fun s => column nobody b clients s).
Notation oth := (fun i s => column nobody b (others i) s).

(* the k cheapest of every task cost at most B together *)
Definition greedy (k : nat) : Prop :=
  (forall t, In t tasks -> (k <= length (full t))%nat) /\ sumQ (map (fun t => sumQ (firstn k (full
    t))) tasks) <= B.

Lemma ordf cl t : ordered (column nobody b cl t). Proof. apply column_ordered. Qed.
Lemma nngf cl t : nonneg (column nobody b cl t). Proof. apply column_nonneg;
  [exact nobody_nonneg|exact nonneg_b]. Qed.
Local Hint Resolve ordf nngf : core.
Lemma greedy_less j k : (j <= k)%nat -> greedy k -> greedy j.
Proof.
  intros H [G1 G2]. split; [intros t Ht; specialize (G1 t Ht); lia|].
    eapply Qle_trans; [|exact G2]. apply sum_le.
  intros t _. apply firstn_mono; auto.
Qed.

Section Level.
Variable m : nat.
Hypothesis m_pos : (1 <= m)%nat.
Hypothesis rich : greedy (2 * m + 1).

Lemma deep t : In t tasks -> exists v, kth (full t) (S (S m)) = Some v /\ nQ m * v <= sumQ (firstn
  (2 * m + 1) (full t)).
Proof.
  intros Ht. pose proof (proj1 rich t Ht) as L. cbv beta in L.
    destruct (nth_error (column nobody b clients t) (S m)) as [v|] eqn:E.
  - exists v. split; [exact E|]. replace (2 * m + 1)%nat with (S m + m)%nat in * by lia.
    apply tail_sum; auto.
  - apply nth_error_None in E. lia.
Qed.
Lemma others_lower i t k : (i < N)%nat -> obelow (kth (oth i t) k) (kth (full t) (S k)).
Proof.
  intros Hi. apply obelow_counts; auto. intros c _ H. rewrite (count_full N b t i c Hi) in H.
  destruct (b i t) as [a|]; [destruct (Qle_bool a c)|]; lia.
Qed.
Lemma cap_sum c ts : incl ts tasks -> nQ m * capped c (map (fun t => kth (full t) (S (S m))) ts) <=
  sumQ (map (fun t => sumQ (firstn (2 * m + 1) (full t))) ts).
Proof.
  unfold capped. induction ts as [|t ts IH]; intros H; cbn [map sumQ]; [lra|].
  assert (IH' := IH (fun u Hu => H u (or_intror Hu))). destruct (deep t (H t (or_introl eq_refl)))
    as (v & Ev & Hv).
  rewrite Ev. assert (M : nQ m * mn (Some v) c <= nQ m * v) by (apply mul_mono; cbn [mn]; mm; lra).
  cbv beta in *. lra.
Qed.
Lemma losers_fit i s c : (i < N)%nat -> nQ m * capped c (losers N T nobody b i s m) <= B.
Proof.
  intros Hi. eapply Qle_trans; [|exact (proj2 rich)]. eapply Qle_trans; [|apply (cap_sum c tasks);
    apply incl_refl].
  apply mul_mono, capped_mono; [|lra]. intros t _. destruct (t =? s)%nat.
  - apply obelow_counts; auto. intros d _ H. rewrite (count_full N b t i d Hi) in H.
    destruct (b i t) as [a|]; [destruct (Qle_bool a d)|]; lia.
  - apply others_lower. exact Hi.
Qed.
Lemma finite_at i t k : (i < N)%nat -> In t tasks -> (k <= S m)%nat -> exists v,
  kth (oth i t) k = Some v.
Proof.
  intros Hi Ht Hk. destruct (deep t Ht) as (v & Ev & _).
  assert (O : obelow (kth (oth i t) k) (kth (full t) (S (S m)))).
  { apply obelow_counts; auto. intros d _ H. rewrite (count_full N b t i d Hi) in H.
    destruct (b i t) as [a|]; [destruct (Qle_bool a d)|]; lia. }
  cbv beta in Ev. unfold obelow in O. rewrite Ev in O. destruct O as (x & E & _). exists x. exact E.
Qed.
Lemma open_at i s : (i < N)%nat -> is_open N T B nobody b i s m = true.
Proof.
  intros Hi. unfold is_open.
  assert (H : exists c, highest (winning N T nobody b i s m) = Some c).
  { unfold winning. generalize (incl_refl tasks). generalize tasks at 1 3 as ts.
    induction ts as [|t ts IH]; intros H; [exists 0; reflexivity|].
    simpl. destruct (finite_at i t (if (t =? s)%nat then m - 1 else m)%nat Hi (H t (or_introl
      eq_refl))) as (v & Ev); [destruct (t =? s)%nat; lia|].
    rewrite Ev. destruct IH as (c & ->); [intros u Hu; apply H; right; exact Hu|].
      eexists; reflexivity. }
  destruct H as (c & ->). apply qle_true, losers_fit. exact Hi.
Qed.

Lemma length_asks cl s : length (bids b cl s) = length (filter (fun i => match b i s with Some _ =>
  true | None => false end) cl).
Proof. induction cl as [|i cl IH]; simpl; [reflexivity|]. unfold bids in *.
  destruct (b i s); simpl; [rewrite IH|]; auto. Qed.
Definition bidders s := filter (fun i => match b i s with Some _ => true | None => false end)
  clients.
Lemma length_full s : length (full s) = length (bidders s).
Proof. unfold column. rewrite length_sort. simpl. apply length_asks. Qed.
Lemma filter_len {A} (f : A -> bool) l : (length (filter f l) <= length l)%nat.
Proof. induction l as [|x l IH]; simpl; [lia|]. destruct (f x); simpl; lia. Qed.

Lemma cheap_wins i s a : (i < N)%nat -> In s tasks -> b i s = Some a -> (rank N b i s a < m)%nat ->
  wins N T B nobody b s i = true.
Proof.
  intros Hi Hs Ea Hr. assert (mN : (m <= N)%nat).
  { pose proof (proj1 rich s Hs) as L. rewrite length_full in L. unfold bidders in L.
    pose proof (filter_len (fun i => match b i s with Some _ => true | None => false end) clients)
      as F.
    unfold Auction.clients in F at 2. rewrite seq_length in F. lia. }
  pose proof (open_at i s Hi) as Ho. destruct (finite_at i s m Hi Hs ltac:(lia)) as (v & Ev).
  assert (HL : (m <= level N T B nobody b i s)%nat) by (apply largest_ge; [lia|exact Ho]).
  assert (P : exists q, price_at N T B nobody b i s m = Some q /\ v <= q).
  { unfold price_at. rewrite Ev. assert (W : below v (water_level (losers N T nobody b i s m) (B /
    nQ m))).
    { apply water_level_largest. apply Qle_shift_div_l; [apply nQ_pos1; lia|]. rewrite Qmult_comm.
      apply losers_fit. exact Hi. }
    destruct (water_level _ _) as [w|]; simpl in *; eexists; split; try reflexivity; [mm; lra|lra].
      }
  destruct P as (q & Hq & Hvq).
  destruct (price_is_the_best N T B nobody budget_nonneg nobody_nonneg b nonneg_b i s m q Hs
    ltac:(lia) Ho Hq) as (p & Hp & Hqp).
  assert (a <= v).
  { assert (Bl : below a (kth (oth i s) m)).
    { apply below_counts; auto. intros c _ Hc. apply Qnot_lt_le. intros C.
      pose proof (count_rank N b i s a c C). lia. }
    unfold below in Bl. cbv beta in Ev, Bl. rewrite Ev in Bl. exact Bl. }
  unfold wins, outcome. rewrite Ea, Hp. assert (R : (rank N b i s a <? level N T B nobody b i s)%nat
    = true) by (apply Nat.ltb_lt; lia).
  rewrite R. qcase a p; [reflexivity|lra].
Qed.

(* m bidders of which each has only others of them ahead *)
Lemma ahead_asym s j i x a : b j s = Some x -> b i s = Some a -> ahead b s j a i = true -> ahead b s
  i x j = true -> False.
Proof.
  intros Hj Hi. unfold ahead, before. rewrite Hj, Hi. qcase a x; qcase x a; simpl; intros H1 H2;
    try discriminate; try lra.
  apply Nat.ltb_lt in H1, H2. lia.
Qed.
Lemma lowest s : forall d W, NoDup W -> incl W (bidders s) -> (length W = m + d)%nat ->
  (forall i a j, In i W -> b i s = Some a -> In j clients -> ahead b s j a i = true -> In j W) ->
  exists L, NoDup L /\ incl L (bidders s) /\ length L = m /\
    forall i a j, In i L -> b i s = Some a -> In j clients -> ahead b s j a i = true -> In j L.
Proof.
  induction d as [|d IH]; intros W Hn Hi Hl Hc; [exists W; repeat split; auto; lia|].
  assert (HB : forall i, In i W -> b i s <> None).
  { intros i H E. apply Hi in H. unfold bidders in H. apply filter_In in H as [_ H].
    rewrite E in H. discriminate. }
  destruct (last_winner b s W Hn HB) as (k & c & Hk & Ec & Hlast); [intros ->; simpl in Hl; lia|].
  apply in_split in Hk as (A & C & ->). apply (IH (A ++ C)).
  - eapply NoDup_remove_1; exact Hn.
  - intros u Hu. apply Hi. apply in_app_or in Hu. apply in_or_app. simpl. intuition.
  - rewrite app_length in *. simpl in Hl. lia.
  - intros i a j Hin Ea Hj Ha. assert (Hin' : In i (A ++ k :: C)) by (apply in_app_or in Hin;
    apply in_or_app; simpl; intuition).
    assert (Hjw := Hc i a j Hin' Ea Hj Ha). apply in_app_or in Hjw. apply in_or_app.
    destruct Hjw as [Hjw|[<-|Hjw]]; auto. exfalso.
    assert (Hik : i <> k) by (intros ->; apply (NoDup_remove_2 _ _ _ Hn); exact Hin).
    specialize (Hlast i Hin' Hik). eapply (ahead_asym s k i c a); eassumption.
Qed.

Theorem at_least s : In s tasks -> (m <= length (filter (wins N T B nobody b s) clients))%nat.
Proof.
  intros Hs. pose proof (proj1 rich s Hs) as L. rewrite length_full in L.
  destruct (lowest s (length (bidders s) - m) (bidders s)) as (W & Hn & Hi & Hl & Hc).
  - apply NoDup_filter, seq_NoDup.
  - apply incl_refl.
  - lia.
  - intros i a j _ _ Hj Ha. unfold bidders. apply filter_In. split; [exact Hj|].
    unfold ahead in Ha. destruct (b j s); [reflexivity|discriminate].
  - rewrite <- Hl. apply NoDup_incl_length; [exact Hn|]. intros i HiW. pose proof (Hi i HiW) as Hb.
    unfold bidders in Hb.
    apply filter_In in Hb as [HiN Hb]. apply filter_In. split; [exact HiN|].
    destruct (b i s) as [a|] eqn:Ea; [|discriminate].
    assert (HiN' : (i < N)%nat) by (unfold Auction.clients in HiN; apply in_seq in HiN; lia).
    apply (cheap_wins i s a HiN' Hs Ea). rewrite <- Hl.
    apply in_split in HiW as (A & C & EW). apply Nat.lt_le_trans with (S (length (A ++ C)));
      [|rewrite EW, !app_length; simpl; lia].
    apply Nat.lt_succ_r. unfold rank. apply NoDup_incl_length; [apply NoDup_filter;
      unfold Auction.others; apply NoDup_filter, seq_NoDup|].
    intros j Hj. apply filter_In in Hj as [Hj Ha]. apply in_others in Hj as [HjN Hji].
    assert (HjW : In j W). { apply (Hc i a j); auto; [rewrite EW; apply in_or_app; simpl;
      auto|unfold Auction.clients; apply in_seq; lia]. }
    rewrite EW in HjW. apply in_app_or in HjW. apply in_or_app. simpl in HjW. intuition congruence.
Qed.
End Level.

Theorem floor k s : greedy k -> In s tasks -> ((k - 1) / 2 <= length (filter (wins N T B nobody b s)
  clients))%nat.
Proof.
  intros G Hs. set (m := ((k - 1) / 2)%nat). destruct (Nat.eq_dec m 0) as [->|Hm]; [lia|].
  apply at_least; [lia| |exact Hs]. apply greedy_less with k; [|exact G].
    pose proof (Nat.div_mod (k - 1) 2 ltac:(lia)).
  fold m in H. lia.
Qed.
End Floor.
