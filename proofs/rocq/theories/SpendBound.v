(* The arithmetic of the budget and of the take-up of CLW, for every number of tasks.

   The spend bound g_k(p, mu) is the largest value of sum_s (k - y_s) p_s + z_s mu_s over counts
   with y_s <= min(k, S), z_s <= S - 1, sum z <= sum y, sum z <= S floor(S / 2). It is computed by
   pairing the largest mu with the smallest p; that this is no less than the value at any such
   counts is proved here, and so is the step of the budget proof that needs it. *)
From Coq Require Import QArith Lqa Lia List Arith Bool Permutation.
Require Import Auction Floor Assignment ClearingLevels.
Import ListNotations.
Open Scope Q_scope.

Fixpoint sum_nat (l : list nat) : nat := match l with [] => 0 | x :: r => x + sum_nat r end.
Definition weighted (ns : list nat) (xs : list Q) : Q :=
  sumQ (map (fun nx => nQ (fst nx) * snd nx) (combine ns xs)).

(* ------------------------------------------------------------------ 1. sums of some of a list *)
(* the n smallest of a list sum to at most any n of it: here some of it, as a sublist *)
Inductive some_of : list Q -> list Q -> Prop :=
| some_nil l : some_of [] l
| some_take x l l' : some_of l l' -> some_of (x :: l) (x :: l')
| some_skip x l l' : some_of l l' -> some_of l (x :: l').

Lemma sumQ_app l l' : sumQ (l ++ l') == sumQ l + sumQ l'.
Proof. induction l as [|x l IH]; simpl; [lra|]. rewrite IH. lra. Qed.
Lemma some_length l l' : some_of l l' -> (length l <= length l')%nat.
Proof. induction 1; simpl; lia. Qed.
Lemma one_more z : forall l m, (forall y, In y l -> z <= y) -> (m < length l)%nat ->
  z + sumQ (firstn m l) <= sumQ (firstn (S m) l).
Proof.
  induction l as [|y l IH]; intros m H L; simpl in L; [lia|].
  destruct m as [|m]; simpl; [pose proof (H y (or_introl eq_refl)); lra|].
  specialize (IH m (fun w Hw => H w (or_intror Hw)) ltac:(lia)). simpl in IH. lra.
Qed.
(* x goes before the first larger one, so the n first of the new list sum to at most x and n - 1 *)
Lemma first_insert x l : ordered l -> forall n,
  sumQ (firstn (S n) (insert x l)) <= x + sumQ (firstn n l) /\
  ((n <= length l)%nat -> sumQ (firstn n (insert x l)) <= sumQ (firstn n l)).
Proof.
  induction l as [|y l IH]; intros Ho n.
  - simpl. destruct n; simpl; split; intros; try lra. lia.
  - destruct Ho as [H1 H2]. simpl insert. qcase x y.
    + split; [apply Qle_refl|]. intros Hn. destruct n as [|n]; [simpl; lra|].
      simpl firstn. simpl sumQ. apply (one_more x (y :: l) n).
      * intros z [<-|Hz]; [exact E|]. specialize (H1 z Hz). lra.
      * simpl in *. lia.
    + specialize (IH H2). split.
      * simpl firstn. simpl sumQ. destruct n as [|n]; [simpl; lra|].
        destruct (IH n) as [A _]. simpl firstn at 2. simpl sumQ at 2. simpl. simpl in A. lra.
      * intros Hn. destruct n as [|n]; [simpl; lra|]. simpl. simpl in Hn.
        destruct (IH n) as [_ A]. specialize (A ltac:(lia)). lra.
Qed.
Lemma smallest_sum l l' : some_of l l' -> sumQ (firstn (length l) (sort l')) <= sumQ l.
Proof.
  induction 1 as [l'|x l l' H IH|x l l' H IH]; simpl sort.
  - simpl. lra.
  - simpl length. pose proof (proj1 (first_insert x (sort l') (ordered_sort l') (length l))) as A.
    eapply Qle_trans; [exact A|]. cbn [sumQ]. lra.
  - pose proof (proj2 (first_insert x (sort l') (ordered_sort l') (length l))) as A.
    rewrite length_sort in A. specialize (A (some_length _ _ H)). lra.
Qed.
Lemma some_opp l l' : some_of l l' -> some_of (map Qopp l) (map Qopp l').
Proof. induction 1; simpl; constructor; assumption. Qed.
Lemma sum_opp l : sumQ (map Qopp l) == - sumQ l.
Proof. induction l as [|x l IH]; simpl; [lra|]. rewrite IH. lra. Qed.
Lemma largest_sum l l' : some_of l l' -> sumQ l <= sumQ (firstn (length l) (descending l')).
Proof.
  intros H. apply some_opp in H. apply smallest_sum in H. rewrite map_length, sum_opp in H.
  unfold descending. rewrite firstn_map, sum_opp. lra.
Qed.
(* counts within a list of repeats *)
Lemma some_repeat n m x : (n <= m)%nat -> some_of (repeat x n) (repeat x m).
Proof. revert n. induction m as [|m IH]; intros [|n] H; simpl; try constructor; try lia.
  apply IH. lia. Qed.
Lemma some_app a a' c c' : some_of a a' -> some_of c c' -> some_of (a ++ c) (a' ++ c').
Proof.
  intros H. revert c c'. induction H as [l|x l l' H IH|x l l' H IH]; intros c c' Hc; simpl.
  - induction l as [|x l IHl]; simpl; [exact Hc|]. constructor. exact IHl.
  - constructor. auto.
  - constructor. auto.
Qed.
Lemma chosen_of_repeats m : forall xs ns, length ns = length xs ->
  (forall n, In n ns -> (n <= m)%nat) ->
  some_of (flat_map (fun nx => repeat (snd nx) (fst nx)) (combine ns xs))
          (flat_map (fun x => repeat x m) xs).
Proof.
  induction xs as [|x xs IH]; intros [|n ns] L H; simpl in *; try discriminate; [constructor|].
  apply some_app; [apply some_repeat, H; left; reflexivity|].
  apply IH; [lia|]. intros k Hk. apply H. right. exact Hk.
Qed.
Lemma sum_repeat n x : sumQ (repeat x n) == nQ n * x.
Proof. induction n as [|n IH]; simpl; [rewrite nQ_0; lra|]. rewrite IH, nQ_S. lra. Qed.
Lemma sum_chosen : forall xs ns, length ns = length xs ->
  sumQ (flat_map (fun nx => repeat (snd nx) (fst nx)) (combine ns xs)) == weighted ns xs /\
  length (flat_map (fun nx => repeat (snd nx) (fst nx)) (combine ns xs)) = sum_nat ns.
Proof.
  unfold weighted. induction xs as [|x xs IH]; intros [|n ns] L; simpl in *; try discriminate.
  - split; [lra|reflexivity].
  - destruct (IH ns ltac:(lia)) as [A C]. rewrite sumQ_app, sum_repeat, A.
    rewrite app_length, repeat_length, C. split; [lra|reflexivity].
Qed.

(* ------------------------------------------------------------------ 2. pairing is best *)
Lemma gains_cover : forall n c mus ps, (c <= n)%nat -> (c <= length mus)%nat ->
  (c <= length ps)%nat -> sumQ (firstn c mus) - sumQ (firstn c ps) <= gains n mus ps.
Proof.
  induction n as [|n IH]; intros c mus ps Hn Hm Hp.
  - assert (c = 0%nat) as -> by lia. simpl. lra.
  - destruct mus as [|mu mus]; [assert (c = 0%nat) as -> by (simpl in Hm; lia); simpl; lra|].
    destruct ps as [|p ps]; [assert (c = 0%nat) as -> by (simpl in Hp; lia); simpl; lra|].
    destruct c as [|c]; simpl in *.
    + specialize (IH 0%nat mus ps ltac:(lia) ltac:(lia) ltac:(lia)). simpl in IH. mm; lra.
    + specialize (IH c mus ps ltac:(lia) ltac:(lia) ltac:(lia)). mm; lra.
Qed.
Lemma length_descending l : length (descending l) = length l.
Proof. unfold descending. rewrite map_length, length_sort, map_length. reflexivity. Qed.

(* places y taken from their prices, places z added at their marginals *)
Theorem bound_covers T k ps mus ys zs :
  length ps = length ys -> length mus = length zs -> nonneg ps ->
  (forall y, In y ys -> (y <= Nat.min k T)%nat) -> (forall z, In z zs -> (z <= T - 1)%nat) ->
  (sum_nat zs <= sum_nat ys)%nat -> (sum_nat zs <= T * (T / 2))%nat ->
  nQ k * sumQ ps - weighted ys ps + weighted zs mus <= bound true T k ps mus.
Proof.
  intros Lp Lm Np Hy Hz Hle Hcap. unfold bound.
  pose proof (chosen_of_repeats (Nat.min k T) ps ys (eq_sym Lp) Hy) as SY.
  pose proof (chosen_of_repeats (T - 1) mus zs (eq_sym Lm) Hz) as SZ.
  destruct (sum_chosen ps ys (eq_sym Lp)) as [VY LY].
  destruct (sum_chosen mus zs (eq_sym Lm)) as [VZ LZ].
  pose proof (smallest_sum _ _ SY) as A. pose proof (largest_sum _ _ SZ) as C.
  pose proof (some_length _ _ SY) as ly. pose proof (some_length _ _ SZ) as lz.
  rewrite VY, LY in A. rewrite VZ, LZ in C. rewrite LY in ly. rewrite LZ in lz.
  set (P := sort (flat_map (fun p => repeat p (Nat.min k T)) ps)) in *.
  set (M := descending (flat_map (fun m => repeat m (T - 1)) mus)) in *.
  assert (NP : nonneg P).
  { intros x Hx. apply in_sort, in_flat_map in Hx as (p & Hp & Hx). apply repeat_spec in Hx.
    subst x. apply Np. exact Hp. }
  pose proof (firstn_mono P NP (sum_nat zs) (sum_nat ys) Hle) as F.
  assert (G : sumQ (firstn (sum_nat zs) M) - sumQ (firstn (sum_nat zs) P) <=
    gains (T * (T / 2)) M P).
  { apply gains_cover; [exact Hcap| |].
    - unfold M. rewrite length_descending. exact lz.
    - unfold P. rewrite length_sort. lia. }
  lra.
Qed.

(* ------------------------------------------------------------------ 3. the budget's last step *)
(* x_s recruits of task s, a_s of them at level k and paid at most p_s, the others at most m_s *)
Theorem spend_within_bound T k (p m : nat -> Q) (a x : nat -> nat) :
  (forall s, 0 <= m s <= p s) -> (forall s, (a s <= k)%nat /\ (a s <= x s)%nat) ->
  (forall s, (k <= x s + T)%nat /\ (x s <= k + (T - 1))%nat) ->
  (sum_nat (map (fun s => x s - k) (tasks T)) <= sum_nat (map (fun s => k - x s) (tasks T)))%nat ->
  (sum_nat (map (fun s => x s - k) (tasks T)) <= T * (T / 2))%nat ->
  sumQ (map (fun s => nQ (a s) * p s + nQ (x s - a s) * m s) (tasks T))
    <= bound true T k (map p (tasks T)) (map m (tasks T)).
Proof.
  intros Hm Ha Hx Hle Hcap.
  pose proof (bound_covers T k (map p (tasks T)) (map m (tasks T))
    (map (fun s => k - x s)%nat (tasks T)) (map (fun s => x s - k)%nat (tasks T))) as G.
  rewrite !map_length in G. specialize (G eq_refl eq_refl).
  eapply Qle_trans; [|apply G].
  - clear Hle Hcap G. generalize (tasks T) as ts. unfold weighted.
    induction ts as [|s ts IH]; simpl; [lra|].
    enough (nQ (a s) * p s + nQ (x s - a s) * m s <=
            nQ k * p s - nQ (k - x s) * p s + nQ (x s - k) * m s) by lra.
    destruct (Hm s) as [M0 M1], (Ha s) as [A1 A2]. destruct (le_lt_dec (x s) k) as [L|L].
    + replace (x s - k)%nat with 0%nat by lia. rewrite nQ_0.
      assert (E1 : nQ k == nQ (a s) + nQ (x s - a s) + nQ (k - x s)).
      { rewrite <- !nQ_add. replace (a s + (x s - a s) + (k - x s))%nat with k by lia.
        reflexivity. }
      rewrite E1. pose proof (mul_mono (x s - a s) _ _ M1). lra.
    + replace (k - x s)%nat with 0%nat by lia. rewrite nQ_0.
      assert (E1 : nQ k == nQ (a s) + nQ (k - a s)).
      { rewrite <- nQ_add. replace (a s + (k - a s))%nat with k by lia. reflexivity. }
      assert (E2 : nQ (x s - a s) == nQ (k - a s) + nQ (x s - k)).
      { rewrite <- nQ_add. replace (k - a s + (x s - k))%nat with (x s - a s)%nat by lia.
        reflexivity. }
      rewrite E1, E2. pose proof (mul_mono (k - a s) _ _ M1). lra.
  - intros q Hq. apply in_map_iff in Hq as (s & <- & _). destruct (Hm s). lra.
  - intros y Hy. apply in_map_iff in Hy as (s & <- & _). destruct (Hx s). lia.
  - intros z Hz. apply in_map_iff in Hz as (s & <- & _). destruct (Hx s). lia.
  - exact Hle.
  - exact Hcap.
Qed.

(* ------------------------------------------------------------------ 4. take-up *)
(* never more than S - 1 times the prices beyond k times the prices *)
Lemma gains_small : forall n mus ps, nonneg mus -> nonneg ps -> gains n mus ps <= sumQ mus.
Proof.
  assert (P : forall l, nonneg l -> 0 <= sumQ l).
  { induction l as [|x l IH]; intros H; simpl; [lra|]. pose proof (H x (or_introl eq_refl)).
    assert (A := IH (fun y Hy => H y (or_intror Hy))). lra. }
  induction n as [|n IH]; intros mus ps Hm Hp; simpl; [apply P; exact Hm|].
  destruct mus as [|mu mus]; [simpl; lra|]. destruct ps as [|p ps]; [apply P; exact Hm|].
  pose proof (Hm mu (or_introl eq_refl)). pose proof (Hp p (or_introl eq_refl)).
  specialize (IH mus ps (fun y Hy => Hm y (or_intror Hy)) (fun y Hy => Hp y (or_intror Hy))).
  simpl. mm; lra.
Qed.
Lemma sum_descending l : sumQ (descending l) == sumQ l.
Proof.
  unfold descending. rewrite sum_opp. pose proof (sum_sort (fun x => x) (map Qopp l)) as E.
  rewrite !map_id in E. rewrite E, sum_opp. lra.
Qed.
Lemma in_descending l x : In x (descending l) -> In x l.
Proof.
  intros H. apply in_map_iff in H as (y & <- & Hy).
  apply in_sort, in_map_iff in Hy as (z & <- & Hz).
  destruct z as [n d]. unfold Qopp. simpl. rewrite Z.opp_involutive. exact Hz.
Qed.
Lemma sum_repeats n l : sumQ (flat_map (fun x => repeat x n) l) == nQ n * sumQ l.
Proof. induction l as [|x l IH]; simpl; [lra|]. rewrite sumQ_app, sum_repeat, IH. lra. Qed.
Theorem bound_at_most T k (p m : nat -> Q) ts : (forall s, In s ts -> 0 <= m s <= p s) ->
  bound true T k (map p ts) (map m ts) <= nQ (k + (T - 1)) * sumQ (map p ts).
Proof.
  intros H. unfold bound.
  assert (G : gains (T * (T / 2)) (descending (flat_map (fun x => repeat x (T - 1)) (map m ts)))
    (sort (flat_map (fun x => repeat x (Nat.min k T)) (map p ts))) <= nQ (T - 1) * sumQ (map m ts)).
  { eapply Qle_trans; [apply gains_small|].
    - intros x Hx. apply in_descending, in_flat_map in Hx as (y & Hy & Hx). apply repeat_spec in Hx.
      subst x. apply in_map_iff in Hy as (s & <- & Hs). destruct (H s Hs). lra.
    - intros x Hx. apply in_sort, in_flat_map in Hx as (y & Hy & Hx). apply repeat_spec in Hx.
      subst x. apply in_map_iff in Hy as (s & <- & Hs). destruct (H s Hs). lra.
    - rewrite sum_descending, sum_repeats. lra. }
  assert (S : sumQ (map m ts) <= sumQ (map p ts)) by (apply sum_le; intros s Hs; apply H; exact Hs).
  apply (mul_mono (T - 1)) in S. rewrite nQ_add. lra.
Qed.

Section Market.
Variables (T : nat) (rows : list (list (option (Q * Q)))).
Hypothesis rows_nonneg : forall r s a, In r rows -> ask r s = Some a -> 0 <= fst a.
Notation C := (least T rows).
Notation finite q := (C q <> None).
Definition paid (q : nat -> nat) : Q := match C q with Some a => fst a | None => 0 end.

Lemma cost_nonneg jobs a : incl (map fst jobs) rows -> cost jobs = Some a -> 0 <= fst a.
Proof.
  revert a. induction jobs as [|(r, o) jobs IH]; intros a H E; simpl in *.
  - injection E as <-. simpl. lra.
  - assert (H' : incl (map fst jobs) rows) by (intros x Hx; apply H; right; exact Hx).
    destruct o as [s|]; [|exact (IH a H' E)].
    destruct (ask r s) as [u|] eqn:Eu; [|discriminate].
    destruct (cost jobs) as [w|]; [|discriminate]. injection E as <-. specialize (IH w H' eq_refl).
    pose proof (rows_nonneg r s u (H r (or_introl eq_refl)) Eu). simpl. lra.
Qed.
Lemma paid_nonneg q : 0 <= paid q.
Proof.
  unfold paid. destruct (C q) as [a|] eqn:E; [|lra].
  destruct (least_is_reached _ _ _ _ E) as (jobs & (M & _) & Ec).
  apply cost_nonneg with jobs; [rewrite M; apply incl_refl|exact Ec].
Qed.
Lemma nothing_is_free : exists a, C (fun _ => 0%nat) = Some a /\ fst a == 0.
Proof.
  set (jobs := map (fun r : list (option (Q * Q)) => (r, @None nat)) rows).
  assert (F : forall j, In j jobs -> snd j = None).
  { intros j Hj. apply in_map_iff in Hj as (r & <- & _). reflexivity. }
  assert (L : below_or_equal (C (fun _ => 0%nat)) (Some (0, 0))).
  { replace (Some (0, 0)) with (cost jobs).
    - apply least_is_least. split; [unfold jobs; rewrite map_map; apply map_id|].
      split; intros s _; apply count_none; exact F.
    - rewrite <- (app_nil_r jobs). rewrite (cost_free jobs [] F). reflexivity. }
  destruct (C (fun _ => 0%nat)) as [a|] eqn:E; [|destruct L]. exists a. split; [reflexivity|].
  pose proof (paid_nonneg (fun _ => 0%nat)) as P. unfold paid in P. rewrite E in P.
  unfold below_or_equal, leq in L. simpl in L. lra.
Qed.
(* what can be filled can be filled with less, at no higher cost *)
Lemma less_is_finite q s : (s < T)%nat -> (0 < q s)%nat -> finite q ->
  finite (fewer q s) /\ paid (fewer q s) <= paid q.
Proof.
  intros Hs Hq F. pose proof (marginal T [] rows q (fun _ => 0%nat) s Hs) as M. simpl app in M.
  destruct nothing_is_free as (z & Ez & Fz). rewrite Ez in M.
  destruct (C q) as [a|] eqn:E; [|contradiction].
  specialize (M ltac:(intros; lia) Hq). unfold paid. rewrite E.
  pose proof (paid_nonneg (more (fun _ => 0%nat) s)) as P. unfold paid in P.
  destruct (C (fewer q s)) as [c|]; [|destruct M].
  destruct (C (more _ s)) as [d|]; [|destruct M]. split; [discriminate|].
  unfold below_or_equal, leq in M. simpl in M. lra.
Qed.
(* a marginal price, and that it grows with the quotas *)
Definition price_of (q : nat -> nat) (s : nat) : Q := paid (more q s) - paid q.
Lemma price_grows q q' s : (s < T)%nat -> (forall t, (t < T)%nat -> (q t <= q' t)%nat) ->
  finite q -> finite (more q' s) -> price_of q s <= price_of q' s.
Proof.
  intros Hs H F F'. pose proof (marginal T [] rows (more q' s) q s Hs) as M. simpl app in M.
  rewrite (least_same_quota T rows (fewer (more q' s) s) q') in M by quotas.
  unfold price_of, paid.
  destruct (C (more q' s)) as [a|]; [|contradiction]. destruct (C q) as [c|]; [|contradiction].
  assert (M' : below_or_equal (plus (C q') (C (more q s))) (Some (add a c))).
  { apply M; [|unfold more; rewrite Nat.eqb_refl; specialize (H s Hs); lia].
    intros t Ht. specialize (H t Ht). unfold more. destruct (t =? s)%nat; lia. }
  destruct (C q') as [u|]; [|destruct M']. destruct (C (more q s)) as [v|]; [|destruct M'].
  unfold below_or_equal, leq in M'. simpl in M'. lra.
Qed.

(* one more place of every task in a list *)
Fixpoint grow (ts : list nat) (q : nat -> nat) : nat -> nat :=
  match ts with [] => q | s :: rest => more (grow rest q) s end.
Lemma grow_more ts q t : (q t <= grow ts q t)%nat.
Proof. induction ts as [|s ts IH]; simpl; [lia|]. unfold more. destruct (t =? s)%nat; lia. Qed.
Lemma grow_each ts q t : NoDup ts ->
  grow ts q t = (q t + if in_dec Nat.eq_dec t ts then 1 else 0)%nat.
Proof.
  induction ts as [|s ts IH]; intros Hn; [simpl; lia|]. inversion Hn; subst.
  cbn [grow]. unfold more. rewrite IH by assumption.
  destruct (Nat.eqb_spec t s) as [->|Hne].
  - destruct (in_dec Nat.eq_dec s ts); [contradiction|].
    destruct (in_dec Nat.eq_dec s (s :: ts)) as [|F]; [lia|exfalso; apply F; left; reflexivity].
  - destruct (in_dec Nat.eq_dec t ts) as [i|n], (in_dec Nat.eq_dec t (s :: ts)) as [i'|n'];
      try lia.
    + exfalso. apply n'. right. exact i.
    + destruct i' as [->|]; [congruence|contradiction].
Qed.
Lemma grow_all q t : (t < T)%nat -> grow (tasks T) q t = all_more q t.
Proof.
  intros Ht. rewrite grow_each by apply seq_NoDup.
  destruct (in_dec Nat.eq_dec t (tasks T)) as [|F]; [unfold all_more; lia|].
  exfalso. apply F, in_range, Ht.
Qed.
Lemma grown_finite ts q : incl ts (tasks T) -> finite (grow ts q) ->
  finite q /\ paid q <= paid (grow ts q).
Proof.
  induction ts as [|s ts IH]; intros Hi F; cbn [grow] in *; [split; [exact F|lra]|].
  assert (Hs : (s < T)%nat) by (apply in_range, Hi; left; reflexivity).
  destruct (less_is_finite (more (grow ts q) s) s Hs) as [F' L];
    [unfold more; rewrite Nat.eqb_refl; lia|exact F|].
  assert (E : C (fewer (more (grow ts q) s) s) = C (grow ts q)) by (apply least_same_quota; quotas).
  unfold paid in L at 1. rewrite E in F', L.
  destruct (IH (fun x Hx => Hi x (or_intror Hx)) F') as [F'' L']. split; [exact F''|].
  unfold paid in *. lra.
Qed.
Lemma prices_below_growth ts q : incl ts (tasks T) -> finite (grow ts q) ->
  sumQ (map (price_of q) ts) <= paid (grow ts q) - paid q.
Proof.
  induction ts as [|s ts IH]; intros Hi F; cbn [map sumQ]; [cbn [grow]; lra|].
  assert (Hs : (s < T)%nat) by (apply in_range, Hi; left; reflexivity).
  assert (Hi' : incl ts (tasks T)) by (intros x Hx; apply Hi; right; exact Hx).
  assert (F' : finite (grow ts q)).
  { apply (grown_finite [s] (grow ts q)); [intros x [<-|[]]; apply in_range; exact Hs|exact F]. }
  specialize (IH Hi' F'). pose proof (price_grows q (grow ts q) s Hs) as P.
  specialize (P (fun t _ => grow_more ts q t) (proj1 (grown_finite ts q Hi' F')) F).
  cbn [grow]. unfold price_of in P at 2. lra.
Qed.
Lemma one_level_up q : finite (all_more q) ->
  finite q /\ sumQ (map (price_of q) (tasks T)) <= paid (all_more q) - paid q.
Proof.
  assert (E : C (grow (tasks T) q) = C (all_more q)).
  { apply least_same_quota. intros t Ht. apply grow_all. exact Ht. }
  intros F. rewrite <- E in F. split.
  - exact (proj1 (grown_finite _ _ (incl_refl _) F)).
  - unfold paid at 1. rewrite <- E. apply prices_below_growth; [apply incl_refl|exact F].
Qed.
Lemma level_finite k n : finite (level_quota (k + n)) -> finite (level_quota k).
Proof.
  induction n as [|n IH]; [rewrite Nat.add_0_r; auto|]. rewrite Nat.add_succ_r. intros F.
  apply IH. exact (proj1 (one_level_up (level_quota (k + n)) F)).
Qed.
Lemma level_more_finite k s : (s < T)%nat -> finite (level_quota (S k)) ->
  finite (more (level_quota k) s).
Proof.
  intros Hs F. pose proof (grown_finite (filter (fun t => negb (t =? s)%nat) (tasks T))
    (more (level_quota k) s)) as G.
  apply G; [intros x Hx; apply filter_In in Hx; apply Hx|].
  rewrite (least_same_quota T rows _ (level_quota (S k))); [exact F|].
  intros t Ht. rewrite grow_each by (apply NoDup_filter, seq_NoDup).
  unfold more, level_quota. destruct (Nat.eqb_spec t s) as [->|Hne].
  - destruct (in_dec _ s _) as [i|]; [|lia]. apply filter_In in i as [_ i].
    rewrite Nat.eqb_refl in i. discriminate.
  - destruct (in_dec _ t _) as [|n0]; [lia|]. exfalso. apply n0, filter_In.
    split; [apply in_range; exact Ht|]. apply Nat.eqb_neq in Hne. rewrite Hne. reflexivity.
Qed.
(* n levels on from k cost at least n times the prices at k *)
Lemma levels_up k n : finite (level_quota (S (k + n))) ->
  nQ (S n) * sumQ (map (price_of (level_quota k)) (tasks T))
    <= paid (level_quota (S (k + n))) - paid (level_quota k).
Proof.
  induction n as [|n IH]; intros F.
  - rewrite Nat.add_0_r in *. rewrite nQ_S, nQ_0.
    destruct (one_level_up (level_quota k) F) as [_ L].
    change (all_more (level_quota k)) with (level_quota (S k)) in L. lra.
  - rewrite Nat.add_succ_r in *. destruct (one_level_up (level_quota (S (k + n))) F) as [F' L].
    change (all_more (level_quota (S (k + n)))) with (level_quota (S (S (k + n)))) in L.
    specialize (IH F'). rewrite nQ_S.
    assert (P : sumQ (map (price_of (level_quota k)) (tasks T)) <=
      sumQ (map (price_of (level_quota (S (k + n)))) (tasks T))).
    { apply sum_le. intros s Hs. apply price_grows.
      - apply in_range. exact Hs.
      - intros t _. unfold level_quota. lia.
      - apply (level_finite k (S n)). rewrite Nat.add_succ_r. exact F'.
      - apply level_more_finite; [apply in_range; exact Hs|exact F]. }
    lra.
Qed.

Lemma all_some_paid (f : nat -> nat -> nat) ts : (forall s, In s ts -> finite (f s)) ->
  all_some (map (fun s => money (C (f s))) ts) = Some (map (fun s => paid (f s)) ts).
Proof.
  induction ts as [|s ts IH]; intros H; simpl; [reflexivity|].
  rewrite IH by (intros u Hu; apply H; right; exact Hu). unfold money, paid.
  pose proof (H s (or_introl eq_refl)). destruct (C (f s)); [reflexivity|contradiction].
Qed.
(* a level that costs little enough at twice its height passes the test *)
Theorem affordable_level_fits B k c : (1 <= T)%nat -> (1 <= k)%nat ->
  money (C (level_quota (2 * k + (T - 1)))) = Some c -> c <= B ->
  uncapped_fits T B true C k = true.
Proof.
  intros HT Hk E Hc. set (n := (k + (T - 1) - 1)%nat).
  assert (En : (2 * k + (T - 1))%nat = S (k + n)) by (unfold n; lia). rewrite En in E.
  assert (F : finite (level_quota (S (k + n)))).
  { destruct (C (level_quota (S (k + n)))); [discriminate|discriminate E]. }
  assert (Fk : finite (level_quota k)).
  { apply (level_finite k (S n)). rewrite Nat.add_succ_r. exact F. }
  assert (Fk1 : finite (level_quota (S k))).
  { apply (level_finite (S k) n). exact F. }
  pose proof (levels_up k n F) as U.
  assert (Pc : paid (level_quota (S (k + n))) = c).
  { unfold paid. unfold money in E. destruct (C (level_quota (S (k + n)))); congruence. }
  rewrite Pc in U. pose proof (paid_nonneg (level_quota k)) as P0.
  assert (FU : forall s, In s (tasks T) -> finite (more (level_quota k) s)).
  { intros s Hs. apply level_more_finite; [apply in_range; exact Hs|exact Fk1]. }
  assert (FD : forall s, In s (tasks T) -> finite (fewer (level_quota k) s) /\
    paid (fewer (level_quota k) s) <= paid (level_quota k)).
  { intros s Hs.
    apply less_is_finite; [apply in_range; exact Hs|unfold level_quota; lia|exact Fk]. }
  unfold uncapped_fits, short. rewrite (all_some_paid (more (level_quota k)) _ FU).
  rewrite (all_some_paid (fewer (level_quota k)) _ (fun s Hs => proj1 (FD s Hs))).
  replace (money (C (level_quota k))) with (Some (paid (level_quota k)))
    by (unfold money, paid; destruct (C (level_quota k)); congruence).
  apply qle_true. rewrite !map_map. eapply Qle_trans; [apply bound_at_most|].
  - intros s Hs. destruct (FD s Hs) as [Fs Ls]. split; [lra|].
    pose proof (price_grows (fewer (level_quota k) s) (level_quota k) s) as G.
    apply in_range in Hs. unfold price_of in G.
    assert (Es : C (more (fewer (level_quota k) s) s) = C (level_quota k)).
    { apply least_same_quota. quotas. }
    unfold paid in G at 1. rewrite Es in G. apply G; [exact Hs|quotas|exact Fs|].
    apply FU. apply in_range. exact Hs.
  - replace (k + (T - 1))%nat with (S n) by (unfold n; lia).
    change (map (fun x => paid (more (level_quota k) x) - paid (level_quota k)) (tasks T))
      with (map (price_of (level_quota k)) (tasks T)). lra.
Qed.
End Market.
