(* The cost of quotas with outsiders at a price, which CLW computes as the least of lines, is the
   least cost in the market with enough outsiders among the clients. So all that Assignment.v proves
   of costs holds with outsiders too. *)
From Coq Require Import QArith Lqa Lia List Arith Bool.
Require Import Auction Assignment ClearingLevels SpendBound.
Import ListNotations.
Open Scope Q_scope.

Definition total_of (T : nat) (v : nat -> nat) : nat := sum_nat (map v (tasks T)).
Definition minus (q v : nat -> nat) : nat -> nat := fun s => (q s - v s)%nat.

Lemma sum_same ts (v w : nat -> nat) : (forall s, In s ts -> v s = w s) ->
  sum_nat (map v ts) = sum_nat (map w ts).
Proof. intros H. f_equal. apply map_ext_in. exact H. Qed.
Lemma sum_more (ts : list nat) v s : NoDup ts -> In s ts -> sum_nat (map (more v s) ts) = S (sum_nat (map v ts)).
Proof.
  induction ts as [|t ts IH]; intros Hn Hs; [destruct Hs|]. inversion Hn; subst. simpl.
  destruct Hs as [->|Hs].
  - rewrite (sum_same ts (more v s) v).
    + unfold more. rewrite Nat.eqb_refl. lia.
    + intros u Hu. unfold more. destruct (Nat.eqb_spec u s); [subst; contradiction|reflexivity].
  - rewrite IH by assumption. unfold more at 1.
    destruct (Nat.eqb_spec t s); [subst; contradiction|lia].
Qed.
Lemma total_more T v s : (s < T)%nat -> total_of T (more v s) = S (total_of T v).
Proof. intros H. apply sum_more; [apply seq_NoDup|apply in_range; exact H]. Qed.
Lemma total_fewer T v s : (s < T)%nat -> (0 < v s)%nat -> total_of T v = S (total_of T (fewer v s)).
Proof.
  intros Hs Hv. rewrite <- (total_more T (fewer v s) s Hs). apply sum_same. quotas.
Qed.
Lemma sum_zero (ts : list nat) v : sum_nat (map v ts) = 0%nat -> forall s, In s ts -> v s = 0%nat.
Proof.
  induction ts as [|t ts IH]; simpl; intros H s Hs; [destruct Hs|].
  destruct Hs as [<-|Hs]; [lia|]. apply IH; [lia|exact Hs].
Qed.
Lemma sum_positive (ts : list nat) v : sum_nat (map v ts) <> 0%nat -> exists s, In s ts /\ (0 < v s)%nat.
Proof.
  induction ts as [|t ts IH]; simpl; intros H; [congruence|].
  destruct (Nat.eq_dec (v t) 0) as [E|E].
  - destruct IH as (s & Hs & Hv); [lia|]. exists s. auto.
  - exists t. split; [auto|lia].
Qed.
Lemma ask_outsider T lam s : (s < T)%nat -> ask (repeat (Some (lam, 0)) T) s = Some (lam, 0).
Proof.
  unfold ask. revert T. induction s as [|s IH]; intros [|T] H; simpl; try lia; [reflexivity|].
  apply IH. lia.
Qed.

Definition with_price (lam : Q) (j : nat) (o : option (Q * Q)) : option (Q * Q) :=
  match o with Some a => Some (fst a + nQ j * lam, snd a) | None => None end.

Section Market.
Variables (T : nat) (rows : list (list (option (Q * Q)))) (lam : Q).
Notation market n := (outsiders T n lam ++ rows).

Lemma outsiders_help : forall n q v, (forall s, (s < T)%nat -> (v s <= q s)%nat) ->
  (total_of T v <= n)%nat ->
  below_or_equal (least T (market n) q)
    (with_price lam (total_of T v) (least T rows (minus q v))).
Proof.
  induction n as [|n IH]; intros q v Hv Ht.
  - assert (Z : total_of T v = 0%nat) by lia. rewrite Z. simpl.
    rewrite (least_same_quota T rows (minus q v) q).
    + destruct (least T rows q) as [a|]; simpl; [|exact I]. rewrite nQ_0. amounts.
    + intros s Hs. unfold minus. apply in_range in Hs. rewrite (sum_zero _ v Z s Hs). lia.
  - change (market (S n)) with (repeat (Some (lam, 0)) T :: market n). cbn [least].
    destruct (Nat.eq_dec (total_of T v) 0) as [Z|Z].
    + eapply below_trans; [apply smallest_below; left; reflexivity|]. apply IH; [exact Hv|lia].
    + destruct (sum_positive (tasks T) v Z) as (s & Hs & Hp). apply in_range in Hs.
      pose proof (Hv s Hs) as Hq.
      eapply below_trans; [apply smallest_below; right; apply in_map_iff; exists s;
        split; [reflexivity|apply in_range; exact Hs]|]. cbv beta.
      destruct (Nat.eqb_spec (q s) 0) as [E|_]; [lia|]. rewrite (ask_outsider T lam s Hs).
      rewrite (total_fewer T v s Hs Hp) in *.
      assert (HI := IH (fewer q s) (fewer v s)).
      rewrite (least_same_quota T rows (minus (fewer q s) (fewer v s)) (minus q v)) in HI.
      2:{ intros t Ht'. unfold minus, fewer. destruct (Nat.eqb_spec t s); [subst; lia|reflexivity]. }
      assert (HI' := HI ltac:(intros t Ht'; specialize (Hv t Ht'); unfold fewer;
        destruct (t =? s)%nat; lia) ltac:(lia)). clear HI.
      set (m := total_of T (fewer v s)) in *.
      assert (P : nQ (S m) * lam == nQ m * lam + lam) by (rewrite nQ_S; ring).
      destruct (least T rows (minus q v)) as [a|]; cbn [with_price] in *; [|exact I].
      destruct (least T (market n) (fewer q s)) as [c|]; [|destruct HI'].
      cbn [below_or_equal plus] in *. clear - HI' P.
      generalize dependent (nQ (S m) * lam). generalize dependent (nQ m * lam). intros. amounts.
Qed.
Lemma outsiders_least : forall n q a, least T (market n) q = Some a ->
  exists v c, (forall s, (s < T)%nat -> (v s <= q s)%nat) /\
    least T rows (minus q v) = Some c /\ fst a == fst c + nQ (total_of T v) * lam.
Proof.
  induction n as [|n IH]; intros q a E.
  - exists (fun _ => 0%nat), a. split; [intros; lia|]. simpl in E. split.
    + rewrite (least_same_quota T rows _ q); [exact E|]. intros s _. unfold minus. lia.
    + assert (Z : total_of T (fun _ => 0%nat) = 0%nat).
      { unfold total_of. induction (tasks T) as [|t ts IH]; simpl; auto. }
      rewrite Z, nQ_0. lra.
  - change (market (S n)) with (repeat (Some (lam, 0)) T :: market n) in E. cbn [least] in E.
    match type of E with fold_right smaller ?d ?l = _ =>
      destruct (smallest_one d l) as [H|H]; rewrite E in H end; [exact (IH q a H)|].
    apply in_map_iff in H as (s & H & Hs). apply in_range in Hs.
    destruct (Nat.eqb_spec (q s) 0) as [E0|E0]; [discriminate|].
    rewrite (ask_outsider T lam s Hs) in H.
    destruct (least T (market n) (fewer q s)) as [w|] eqn:Ew; [|discriminate].
    injection H as H. destruct (IH _ _ Ew) as (v & c & Hv & Ec & Sw).
    exists (more v s), c. split; [|split].
    + intros t Ht. specialize (Hv t Ht). unfold more, fewer in *.
      destruct (Nat.eqb_spec t s); [subst; lia|lia].
    + rewrite <- Ec. apply least_same_quota. intros t Ht. unfold minus, more, fewer.
      destruct (Nat.eqb_spec t s); [subst; lia|reflexivity].
    + rewrite (total_more T v s Hs), nQ_S, <- H. simpl. lra.
Qed.
End Market.

(* ------------------------------------------------------------------ the lines *)
Lemma left_over_is ts : forall q j q', In (j, q') (left_over ts q) ->
  exists v, (forall s, (v s <= q s)%nat) /\ (forall s, ~ In s ts -> v s = 0%nat) /\
    (NoDup ts -> j = sum_nat (map v ts)) /\ forall s, q' s = (q s - v s)%nat.
Proof.
  induction ts as [|s ts IH]; intros q j q' H; cbn [left_over] in H.
  - destruct H as [[= <- <-]|[]]. exists (fun _ => 0%nat). repeat split; intros; lia || auto.
  - apply in_flat_map in H as (n & Hn & H). apply in_seq in Hn.
    apply in_map_iff in H as ((i, r) & [= <- <-] & H). cbn [fst snd].
    destruct (IH q i r H) as (v & Hv & Z & Hi & Hr).
    destruct (in_dec Nat.eq_dec s ts) as [Hin|Hout].
    + exists (fun t => if (t =? s)%nat then Nat.min (q s) (v s + n) else v t).
      split; [|split; [|split]].
      * intros t. specialize (Hv t). destruct (Nat.eqb_spec t s); [subst; lia|lia].
      * intros t Ht. destruct (Nat.eqb_spec t s); [subst; exfalso; apply Ht; left; reflexivity|].
        apply Z. intros C. apply Ht. right. exact C.
      * intros Hn'. inversion Hn'; contradiction.
      * intros t. rewrite Hr. destruct (Nat.eqb_spec t s); [subst; lia|reflexivity].
    + exists (fun t => if (t =? s)%nat then n else v t). split; [|split; [|split]].
      * intros t. specialize (Hv t). destruct (Nat.eqb_spec t s); [subst; lia|lia].
      * intros t Ht. destruct (Nat.eqb_spec t s); [subst; exfalso; apply Ht; left; reflexivity|].
        apply Z. intros C. apply Ht. right. exact C.
      * intros Hn'. inversion Hn'; subst. simpl. rewrite Nat.eqb_refl, (Hi ltac:(assumption)).
        f_equal. apply sum_same. intros t Ht.
        destruct (Nat.eqb_spec t s); [subst; contradiction|reflexivity].
      * intros t. rewrite Hr.
        destruct (Nat.eqb_spec t s); [subst; rewrite (Z s Hout); lia|reflexivity].
Qed.
Lemma left_over_all ts : NoDup ts -> forall q v, (forall s, In s ts -> (v s <= q s)%nat) ->
  exists q', In (sum_nat (map v ts), q') (left_over ts q) /\
    (forall s, In s ts -> q' s = (q s - v s)%nat) /\ forall s, ~ In s ts -> q' s = q s.
Proof.
  induction ts as [|s ts IH]; intros Hn q v Hv; cbn [left_over map sum_nat].
  - exists q. split; [left; reflexivity|]. split; [intros t []|reflexivity].
  - inversion Hn; subst. destruct (IH ltac:(assumption) q v) as (r & Hr & E1 & E2);
      [intros; apply Hv; right; assumption|].
    exists (fun t => if (t =? s)%nat then (r t - v s)%nat else r t). split; [|split].
    + apply in_flat_map. exists (v s). split; [apply in_seq; specialize (Hv s (or_introl eq_refl));
        lia|]. apply in_map_iff. exists (sum_nat (map v ts), r). split; [reflexivity|exact Hr].
    + intros t [<-|Ht]; [rewrite Nat.eqb_refl, E2 by assumption; reflexivity|].
      destruct (Nat.eqb_spec t s); [subst; contradiction|apply E1; exact Ht].
    + intros t Ht. destruct (Nat.eqb_spec t s); [subst; exfalso; apply Ht; left; reflexivity|].
      apply E2. intros C. apply Ht. right. exact C.
Qed.

Definition line_at (lam : Q) (l : nat * Q) : Q := snd l + nQ (fst l) * lam.
Lemma lowest_spec lam ls : ls <> [] ->
  (exists l, In l ls /\ lowest ls lam = line_at lam l) /\
  forall l, In l ls -> lowest ls lam <= line_at lam l.
Proof.
  induction ls as [|(j, d) ls IH]; intros H; [congruence|].
  destruct ls as [|m ls].
  - split; [exists (j, d); split; [left|]; reflexivity|].
    intros l [<-|[]]. unfold line_at. simpl. lra.
  - destruct (IH ltac:(discriminate)) as [(l & Hl & El) M].
    change (lowest ((j, d) :: m :: ls) lam) with (qmin (d + nQ j * lam) (lowest (m :: ls) lam)).
    destruct (qmin_spec (d + nQ j * lam) (lowest (m :: ls) lam)) as [[L ->]|[L ->]].
    + split; [exists (j, d); split; [left|]; reflexivity|].
      intros k [<-|Hk]; [apply Qle_refl|]. eapply Qle_trans; [exact L|exact (M k Hk)].
    + split; [exists l; split; [right; exact Hl|exact El]|].
      intros k [<-|Hk]; [apply Qlt_le_weak; exact L|exact (M k Hk)].
Qed.
Lemma keep_spec l ls : (forall m, In m (keep l ls) -> m = l \/ In m ls) /\
  forall m, m = l \/ In m ls -> exists k, In k (keep l ls) /\ fst k = fst m /\ snd k <= snd m.
Proof.
  induction ls as [|m ls [IH1 IH2]]; simpl.
  - split; [intros m [<-|[]]; auto|]. intros m [->|[]]. exists l. split; [auto|]. split; [auto|lra].
  - destruct (Nat.eqb_spec (fst l) (fst m)) as [E|E]; [qcase (snd l) (snd m)|].
    + split; [intros k [<-|Hk]; auto|]. intros k [->|[<-|Hk]].
      * exists l. split; [left; reflexivity|]. split; [reflexivity|lra].
      * exists l. split; [left; reflexivity|]. split; [exact E|exact E0].
      * exists k. split; [right; exact Hk|]. split; [reflexivity|lra].
    + split; [intros k Hk; auto|]. intros k [->|Hk].
      * exists m. split; [left; reflexivity|]. split; [auto|lra].
      * exists k. split; [exact Hk|]. split; [reflexivity|lra].
    + split.
      * intros k [<-|Hk]; [auto|]. destruct (IH1 k Hk); auto.
      * intros k [->|[<-|Hk]].
        -- destruct (IH2 l (or_introl eq_refl)) as (w & Hw & F). exists w. split; [right; exact Hw|].
           exact F.
        -- exists m. split; [left; reflexivity|]. split; [reflexivity|lra].
        -- destruct (IH2 k (or_intror Hk)) as (w & Hw & F). exists w. split; [right; exact Hw|].
           exact F.
Qed.
Lemma kept_spec ls : (forall m, In m (fold_right keep [] ls) -> In m ls) /\
  forall m, In m ls -> exists k, In k (fold_right keep [] ls) /\ fst k = fst m /\ snd k <= snd m.
Proof.
  induction ls as [|l ls [IH1 IH2]]; [split; [intros m []|intros m []]|].
  destruct (keep_spec l (fold_right keep [] ls)) as [K1 K2]. simpl. split.
  - intros m Hm. destruct (K1 m Hm) as [->|Hk]; auto.
  - intros m [<-|Hm]; [apply K2; auto|]. destruct (IH2 m Hm) as (k & Hk & E & L).
    destruct (K2 k (or_intror Hk)) as (w & Hw & E' & L'). exists w. split; [exact Hw|].
    split; [congruence|lra].
Qed.

(* an assignment of nobody fills nothing *)
Lemma nothing_is_finite T rows : exists a, least T rows (fun _ => 0%nat) = Some a.
Proof.
  set (jobs := map (fun r : list (option (Q * Q)) => (r, @None nat)) rows).
  assert (F : forall j, In j jobs -> snd j = None).
  { intros j Hj. apply in_map_iff in Hj as (r & <- & _). reflexivity. }
  assert (L : below_or_equal (least T rows (fun _ => 0%nat)) (cost jobs)).
  { apply least_is_least. split; [unfold jobs; rewrite map_map; apply map_id|].
    split; intros s _; apply count_none; exact F. }
  rewrite <- (app_nil_r jobs), (cost_free jobs [] F) in L. simpl in L.
  destruct (least T rows _) as [a|]; [exists a; reflexivity|destruct L].
Qed.

Theorem lines_are_outsiders T rows lam n q : (total_of T q <= n)%nat ->
  exists a, least T (outsiders T n lam ++ rows) q = Some a /\
    fst a == lowest (lines T (least T rows) q) lam.
Proof.
  intros Hn.
  set (raw := flat_map (fun jq : nat * (nat -> nat) => match money (least T rows (snd jq)) with
    | Some d => [(fst jq, Qred d)] | None => [] end) (left_over (tasks T) q)).
  assert (RAW : forall v c, (forall s, (s < T)%nat -> (v s <= q s)%nat) ->
    least T rows (minus q v) = Some c -> exists d, In (total_of T v, d) raw /\ d == fst c).
  { intros v c Hv Ec. destruct (left_over_all (tasks T) (seq_NoDup T 0) q v) as (q' & Hq & E1 & _);
      [intros s Hs; apply Hv, in_range, Hs|].
    exists (Qred (fst c)). split; [|apply Qred_correct]. apply in_flat_map.
    exists (sum_nat (map v (tasks T)), q'). split; [exact Hq|]. cbn [fst snd].
    rewrite (least_same_quota T rows q' (minus q v)).
    - rewrite Ec. left. reflexivity.
    - intros s Hs. apply E1, in_range, Hs. }
  destruct (kept_spec raw) as [K1 K2]. change (fold_right keep [] raw) with
    (lines T (least T rows) q) in *.
  destruct (nothing_is_finite T rows) as (z & Ez).
  assert (ALL : least T rows (minus q q) = Some z).
  { rewrite <- Ez. apply least_same_quota. intros s _. unfold minus. lia. }
  destruct (RAW q z (fun s _ => le_n _) ALL) as (dz & Hz & Dz).
  destruct (K2 _ Hz) as (kz & Hkz & _).
  assert (NE : lines T (least T rows) q <> []) by (intros E; rewrite E in Hkz; destruct Hkz).
  destruct (lowest_spec lam _ NE) as [(l & Hl & El) M].
  assert (F : exists a, least T (outsiders T n lam ++ rows) q = Some a).
  { pose proof (outsiders_help T rows lam n q q (fun s _ => le_n _) Hn) as H. rewrite ALL in H.
    simpl in H. destruct (least T (outsiders T n lam ++ rows) q) as [a|]; [exists a; reflexivity|].
    destruct H. }
  destruct F as (a & Ea). exists a. split; [exact Ea|]. apply Qle_antisym.
  - (* the lowest line is an assignment *)
    rewrite El. apply K1 in Hl. apply in_flat_map in Hl as ((j, q') & Hj & Hl). cbn [fst snd] in Hl.
    unfold money in Hl. destruct (least T rows q') as [c|] eqn:Ec; [|destruct Hl].
    destruct Hl as [<-|[]]. apply left_over_is in Hj as (v & Hv & Z & Hj & Hq).
    specialize (Hj (seq_NoDup T 0)).
    pose proof (outsiders_help T rows lam n q v (fun s _ => Hv s)) as H.
    assert (LE : (total_of T v <= n)%nat).
    { assert (G : forall ts, (sum_nat (map v ts) <= sum_nat (map q ts))%nat).
      { induction ts as [|t ts IH]; simpl; [lia|]. specialize (Hv t). lia. }
      specialize (G (tasks T)). unfold total_of in *. lia. }
    specialize (H LE). rewrite Ea in H.
    rewrite (least_same_quota T rows (minus q v) q') in H
      by (intros s _; unfold minus; rewrite Hq; reflexivity).
    rewrite Ec in H. unfold line_at. cbn [fst snd]. rewrite Qred_correct, Hj.
    unfold with_price, below_or_equal, leq in H. cbn [fst snd] in H. unfold total_of in H.
    destruct H as [H|[H _]]; [apply Qlt_le_weak; exact H|rewrite H; apply Qle_refl].
  - (* an assignment is on a line *)
    destruct (outsiders_least T rows lam n q a Ea) as (v & c & Hv & Ec & Sa).
    destruct (RAW v c Hv Ec) as (d & Hd & Dd). destruct (K2 _ Hd) as (k & Hk & Ek & Lk).
    specialize (M k Hk). unfold line_at in M. rewrite Ek in M. cbn [fst snd] in *. lra.
Qed.
