(* The least cost of giving every task its quota of clients, when each client does at most one task:
   defined over a list of rows of asks, and its exchange property, for every number of clients and
   tasks and every quota.

   An amount is a pair, compared and added lexicographically: money first, then a number that breaks
   ties. None is infinite: a client that does not do a task, or quotas that cannot be filled. *)
From Coq Require Import QArith Lqa Lia List Arith Bool Permutation.
Require Import Auction.
Import ListNotations.
Open Scope Q_scope.

(* ------------------------------------------------------------------ 1. amounts, executable *)
Notation amount := (Q * Q)%type (only parsing).
Definition add (x y : amount) : amount := (fst x + fst y, snd x + snd y).
Definition leqb (x y : amount) : bool :=
  if Qle_bool (fst x) (fst y)
  then negb (Qle_bool (fst y) (fst x)) || Qle_bool (snd x) (snd y) else false.
Definition plus (x y : option amount) : option amount :=
  match x, y with Some a, Some c => Some (add a c) | _, _ => None end.
Definition smaller (x y : option amount) : option amount :=
  match x, y with
  | Some a, Some c => if leqb a c then x else y
  | Some _, None => x
  | None, _ => y
  end.

(* ------------------------------------------------------------------ 2. least cost, executable *)
Notation row := (list (option amount)).
Definition ask (r : row) (s : nat) : option amount := nth s r None.
Notation quota := (nat -> nat).
Definition more (q : quota) (s : nat) : quota := fun t => if (t =? s)%nat then S (q t) else q t.
Definition fewer (q : quota) (s : nat) : quota :=
  fun t => if (t =? s)%nat then (q t - 1)%nat else q t.
Definition all_more (q : quota) : quota := fun t => S (q t).
Definition level_quota (k : nat) : quota := fun _ => k.

(* the first client does one of the tasks that still want somebody, or nothing *)
Fixpoint least (T : nat) (rows : list row) (q : quota) : option amount :=
  match rows with
  | [] => if forallb (fun s => (q s =? 0)%nat) (tasks T) then Some (0, 0) else None
  | r :: rest =>
      fold_right smaller (least T rest q)
        (map (fun s => if (q s =? 0)%nat then None else plus (ask r s) (least T rest (fewer q s)))
           (tasks T))
  end.

(* the same for all quotas of at most m a task, computed once, client by client *)
Fixpoint boxes (T m : nat) : list (list nat) :=
  match T with
  | O => [[]]
  | S T' => flat_map (fun k => map (cons k) (boxes T' m)) (seq 0 (S m))
  end.
Fixpoint same_key (l l' : list nat) : bool :=
  match l, l' with
  | [], [] => true
  | x :: r, y :: r' => (x =? y)%nat && same_key r r'
  | _, _ => false
  end.
Fixpoint entry {A} (key : list nat) (l : list (list nat * A)) : option A :=
  match l with
  | [] => None
  | (k, v) :: rest => if same_key key k then Some v else entry key rest
  end.
Definition key_of (T : nat) (q : quota) : list nat := map q (tasks T).
Definition quota_of (key : list nat) : quota := fun s => nth s key 0%nat.
Fixpoint table (T : nat) (keys : list (list nat)) (rows : list row)
    : list (list nat * option amount) :=
  match rows with
  | [] => map (fun key => (key, least T [] (quota_of key))) keys
  | r :: rest =>
      let known := table T keys rest in
      let at_quota q := match entry (key_of T q) known with
                        | Some v => v | None => least T rest q end in
      map (fun key => let q := quota_of key in
        (key, fold_right smaller (at_quota q)
          (map (fun s => if (q s =? 0)%nat then None else plus (ask r s) (at_quota (fewer q s)))
             (tasks T)))) keys
  end.
Definition tabulated (T m : nat) (rows : list row) : quota -> option amount :=
  let known := table T (boxes T m) rows in
  fun q => match entry (key_of T q) known with Some v => v | None => least T rows q end.

(* an unlimited supply that does any task at one price, of which m are enough for m places *)
Definition outsiders (T m : nat) (price : Q) : list row := repeat (repeat (Some (price, 0)) T) m.

(* ------------------------------------------------------------------ 3. the order of amounts *)
Definition leq (x y : amount) : Prop := fst x < fst y \/ (fst x == fst y /\ snd x <= snd y).
Definition below_or_equal (x y : option amount) : Prop :=
  match y with
  | None => True
  | Some c => match x with Some a => leq a c | None => False end
  end.
Notation "x <<= y" := (below_or_equal x y) (at level 70).
Definition same_amount (x y : amount) : Prop := fst x == fst y /\ snd x == snd y.

Ltac amounts :=
  repeat match goal with
         | H : _ /\ _ |- _ => destruct H
         | a : (Q * Q)%type |- _ => destruct a
         end;
  unfold leq, same_amount, add in *; cbn [fst snd] in *;
  repeat match goal with H : _ \/ _ |- _ => destruct H end;
  repeat match goal with H : _ /\ _ |- _ => destruct H end;
  match goal with
  | |- _ \/ (?a == ?c /\ _) =>
      destruct (Qlt_le_dec a c); [left; assumption | right; split; lra]
  | |- ?a < ?c \/ _ => destruct (Qlt_le_dec a c); [left; assumption | right; split; lra]
  | |- _ /\ _ => split; lra
  | |- _ => lra
  end.

Lemma leqb_true x y : leqb x y = true <-> leq x y.
Proof.
  unfold leqb, leq. split.
  - qcase (fst x) (fst y); [|discriminate]. qcase (fst y) (fst x); simpl; intros H.
    + apply qle_true in H. right. split; [lra|exact H].
    + left. exact E0.
  - intros [H|[H1 H2]]; qcase (fst x) (fst y); try lra; qcase (fst y) (fst x); simpl; try lra;
      try reflexivity. apply qle_true. exact H2.
Qed.
Lemma leqb_false x y : leqb x y = false -> leq y x.
Proof.
  unfold leqb. intros H. qcase (fst x) (fst y); [qcase (fst y) (fst x); simpl in H|].
  - apply qle_false in H. right. split; lra.
  - discriminate.
  - left. exact E.
Qed.
Lemma leq_refl x : leq x x. Proof. right. split; lra. Qed.
Lemma leq_trans x y z : leq x y -> leq y z -> leq x z. Proof. intros. amounts. Qed.
Lemma below_refl x : x <<= x. Proof. destruct x; simpl; [apply leq_refl|exact I]. Qed.
Lemma below_trans x y z : x <<= y -> y <<= z -> x <<= z.
Proof. destruct x, y, z; simpl; try tauto. apply leq_trans. Qed.
Lemma plus_mono x y u v : x <<= u -> y <<= v -> plus x y <<= plus u v.
Proof. destruct x, y, u, v; simpl; try tauto. intros. amounts. Qed.
Lemma smaller_left x y : smaller x y <<= x.
Proof.
  destruct x as [a|], y as [c|]; simpl; try exact I; [|apply leq_refl].
  destruct (leqb a c) eqn:E; [apply leq_refl|apply leqb_false; exact E].
Qed.
Lemma smaller_right x y : smaller x y <<= y.
Proof.
  destruct x as [a|], y as [c|]; simpl; try exact I; [|apply leq_refl].
  destruct (leqb a c) eqn:E; [apply leqb_true; exact E|apply leq_refl].
Qed.
Lemma smaller_one x y : smaller x y = x \/ smaller x y = y.
Proof. destruct x as [a|], y as [c|]; simpl; auto. destruct (leqb a c); auto. Qed.
Lemma smallest_below d l o : In o (d :: l) -> fold_right smaller d l <<= o.
Proof.
  induction l as [|x l IH]; simpl; intros H.
  - destruct H as [<-|[]]. apply below_refl.
  - destruct H as [<-|[<-|H]].
    + eapply below_trans; [apply smaller_right|apply IH; left; reflexivity].
    + apply smaller_left.
    + eapply below_trans; [apply smaller_right|apply IH; right; exact H].
Qed.
Lemma smallest_one d l : In (fold_right smaller d l) (d :: l).
Proof.
  induction l as [|x l IH]; simpl; [auto|].
  destruct (smaller_one x (fold_right smaller d l)) as [->| ->]; [auto|].
  destruct IH as [IH|IH]; auto.
Qed.

(* ------------------------------------------------------------------ 4. assignments *)
(* a job is a client's row and the task that it does, or None *)
Notation job := (row * option nat)%type.
Definition does (o : option nat) (s : nat) : nat :=
  match o with Some t => if (t =? s)%nat then 1 else 0 | None => 0 end.
Fixpoint count (s : nat) (jobs : list job) : nat :=
  match jobs with [] => 0 | j :: l => does (snd j) s + count s l end.
Fixpoint cost (jobs : list job) : option amount :=
  match jobs with
  | [] => Some (0, 0)
  | (_, None) :: l => cost l
  | (r, Some s) :: l => plus (ask r s) (cost l)
  end.
Definition fills (T : nat) (rows : list row) (q : quota) (jobs : list job) : Prop :=
  map fst jobs = rows /\ (forall s, (s < T)%nat -> count s jobs = q s) /\
  forall s, (T <= s)%nat -> count s jobs = 0%nat.

Lemma in_range T s : In s (tasks T) <-> (s < T)%nat.
Proof. unfold tasks. rewrite in_seq. lia. Qed.

Theorem least_is_least T : forall rows q jobs, fills T rows q jobs -> least T rows q <<= cost jobs.
Proof.
  induction rows as [|r rows IH]; intros q jobs (M & C & Z).
  - destruct jobs; [|discriminate]. simpl.
    replace (forallb _ _) with true; [apply leq_refl|].
    symmetry. apply forallb_forall. intros s Hs. apply in_range in Hs. apply Nat.eqb_eq.
    symmetry. apply (C s Hs).
  - destruct jobs as [|(r', o) jobs]; [discriminate|]. injection M as -> M. cbn [least].
    destruct o as [s|].
    + assert (Hs : (s < T)%nat).
      { apply Nat.nle_gt. intros H. specialize (Z s H). simpl in Z. rewrite Nat.eqb_refl in Z.
        lia. }
      assert (Q1 : q s <> 0%nat).
      { rewrite <- (C s Hs). simpl. rewrite Nat.eqb_refl. lia. }
      eapply below_trans; [apply smallest_below; right; apply in_map_iff; exists s; split;
        [reflexivity|apply in_range; exact Hs]|].
      apply Nat.eqb_neq in Q1. cbv beta. rewrite Q1. simpl cost.
      apply plus_mono; [apply below_refl|].
      apply IH. split; [exact M|]. split.
      * intros t Ht. specialize (C t Ht). simpl in C. unfold fewer. rewrite (Nat.eqb_sym t s).
        destruct (s =? t)%nat; lia.
      * intros t Ht. specialize (Z t Ht). simpl in Z. lia.
    + eapply below_trans; [apply smallest_below; left; reflexivity|]. simpl cost. apply IH.
      split; [exact M|]. split; [intros t Ht; exact (C t Ht)|intros t Ht; exact (Z t Ht)].
Qed.

Theorem least_is_reached T : forall rows q a, least T rows q = Some a ->
  exists jobs, fills T rows q jobs /\ cost jobs = Some a.
Proof.
  induction rows as [|r rows IH]; intros q a E.
  - simpl in E. destruct (forallb _ _) eqn:F; [|discriminate]. exists []. split; [|exact E].
    split; [reflexivity|]. split; [|intros; reflexivity]. intros s Hs. simpl.
    rewrite forallb_forall in F. specialize (F s). rewrite in_range in F. specialize (F Hs).
    apply Nat.eqb_eq in F. auto.
  - cbn [least] in E.
    destruct (smallest_one (least T rows q) (map (fun s => if (q s =? 0)%nat then None
      else plus (ask r s) (least T rows (fewer q s))) (tasks T))) as [H|H]; rewrite E in H.
    + destruct (IH q a H) as (jobs & (M & C & Z) & Ec). exists ((r, None) :: jobs).
      split; [|exact Ec]. split; [simpl; rewrite M; reflexivity|]. split; simpl; assumption.
    + apply in_map_iff in H as (s & H & Hs). apply in_range in Hs.
      destruct (q s =? 0)%nat eqn:Q0; [discriminate|]. apply Nat.eqb_neq in Q0.
      destruct (ask r s) as [c|] eqn:Ea; [|discriminate].
      destruct (least T rows (fewer q s)) as [b|] eqn:El; [|discriminate].
      destruct (IH (fewer q s) b El) as (jobs & (M & C & Z) & Ec).
      exists ((r, Some s) :: jobs). split.
      * split; [simpl; rewrite M; reflexivity|]. split.
        -- intros t Ht. simpl. rewrite (C t Ht). unfold fewer. rewrite (Nat.eqb_sym t s).
           destruct (Nat.eqb_spec s t); [subst; lia|lia].
        -- intros t Ht. simpl. rewrite (Z t Ht). destruct (Nat.eqb_spec s t); lia.
      * simpl. rewrite Ea, Ec. exact H.
Qed.

(* only the quotas of the T tasks matter *)
Lemma least_same_quota T rows q q' : (forall s, (s < T)%nat -> q s = q' s) ->
  least T rows q = least T rows q'.
Proof.
  revert q q'. induction rows as [|r rows IH]; intros q q' H; cbn [least].
  - replace (forallb (fun s => (q s =? 0)%nat) (tasks T))
      with (forallb (fun s => (q' s =? 0)%nat) (tasks T)); [reflexivity|].
    assert (G : forall l, incl l (tasks T) -> forallb (fun s => (q' s =? 0)%nat) l =
      forallb (fun s => (q s =? 0)%nat) l).
    { induction l as [|s l IHl]; intros Hl; simpl; [reflexivity|].
      rewrite IHl, (H s); [reflexivity| |intros x Hx; apply Hl; right; exact Hx].
      apply in_range, Hl. left. reflexivity. }
    apply G, incl_refl.
  - rewrite (IH q q' H). f_equal. apply map_ext_in. intros s Hs. apply in_range in Hs.
    rewrite (H s Hs). destruct (q' s =? 0)%nat; [reflexivity|]. f_equal. apply IH. intros t Ht.
    unfold fewer. rewrite (H t Ht). reflexivity.
Qed.

(* the table holds the least costs *)
Lemma same_key_true : forall l l', same_key l l' = true -> l = l'.
Proof.
  induction l as [|x l IH]; intros [|y l'] H; simpl in H; try discriminate; [reflexivity|].
  apply andb_prop in H as [H1 H2]. apply Nat.eqb_eq in H1. rewrite H1, (IH l' H2). reflexivity.
Qed.
Lemma entry_in {A} key (f : list nat -> A) keys v :
  entry key (map (fun k => (k, f k)) keys) = Some v -> v = f key.
Proof.
  induction keys as [|k keys IH]; simpl; [discriminate|].
  destruct (same_key key k) eqn:E; [|exact IH]. intros [= <-].
  rewrite (same_key_true _ _ E). reflexivity.
Qed.
Lemma quota_of_key T q s : (s < T)%nat -> quota_of (key_of T q) s = q s.
Proof.
  intros H. unfold quota_of, key_of, tasks. rewrite (nth_indep _ 0%nat (q 0%nat)).
  - rewrite map_nth. f_equal. rewrite seq_nth; lia.
  - rewrite map_length, seq_length. exact H.
Qed.
Lemma table_holds_least T keys : forall rows q v,
  entry (key_of T q) (table T keys rows) = Some v -> v = least T rows q.
Proof.
  induction rows as [|r rest IH]; intros q v H; cbn [table] in H; apply entry_in in H; subst v.
  - apply least_same_quota. intros s Hs. apply quota_of_key. exact Hs.
  - assert (AT : forall q', match entry (key_of T q') (table T keys rest) with
                            | Some v => v | None => least T rest q' end = least T rest q').
    { intros q'. destruct (entry _ _) as [v|] eqn:E; [apply IH; exact E|reflexivity]. }
    rewrite AT. rewrite (least_same_quota T (r :: rest) q (quota_of (key_of T q)))
      by (intros s Hs; symmetry; apply quota_of_key; exact Hs).
    cbn [least]. f_equal. apply map_ext. intros s. rewrite AT. reflexivity.
Qed.
Theorem tabulated_is_least T m rows q : tabulated T m rows q = least T rows q.
Proof.
  unfold tabulated. destruct (entry _ _) as [v|] eqn:E; [|reflexivity].
  eapply table_holds_least. exact E.
Qed.

(* the order of the clients does not matter *)
Lemma count_permutation s l l' : Permutation l l' -> count s l = count s l'.
Proof. induction 1; simpl; lia. Qed.
Lemma cost_permutation l l' : Permutation l l' -> cost l' <<= cost l.
Proof.
  induction 1 as [|(r, o) l l' P IH|(r, o) (r', o') l|l l' l'' P1 IH1 P2 IH2].
  - apply below_refl.
  - simpl. destruct o as [s|]; [|exact IH]. apply plus_mono; [apply below_refl|exact IH].
  - simpl. destruct o as [s|], o' as [s'|]; try apply below_refl.
    destruct (ask r s), (ask r' s'), (cost l); simpl; try exact I. amounts.
  - eapply below_trans; eassumption.
Qed.
Theorem least_permutation T rows rows' q : Permutation rows rows' ->
  least T rows' q <<= least T rows q.
Proof.
  intros P. destruct (least T rows q) as [a|] eqn:E; [|exact I].
  destruct (least_is_reached _ _ _ _ E) as (jobs & (M & C & Z) & Ec). rewrite <- M in P.
  apply Permutation_sym, Permutation_map_inv in P as (jobs' & -> & P).
  rewrite <- Ec. eapply below_trans; [apply least_is_least|apply cost_permutation; exact P].
  split; [reflexivity|]. split; intros s Hs; rewrite <- (count_permutation s _ _ P); auto.
Qed.

(* ------------------------------------------------------------------ 5. the exchange *)
(* Two assignments of the same clients, side by side: a client is an edge from its task on the left
   to its task on the right. Where the left has more clients than the right, a walk along the edges
   ends at a client that is free on the right, or at a task of which the right has more. Swapping
   the two sides of the clients on the walk moves one client's worth of quota across; nobody who is
   free on the left is swapped. *)
Notation edge := (row * (option nat * option nat))%type.
Definition left (E : list edge) : list job := map (fun e => (fst e, fst (snd e))) E.
Definition right (E : list edge) : list job := map (fun e => (fst e, snd (snd e))) E.
Definition kept_or_swapped (e e' : edge) : Prop :=
  fst e' = fst e /\
  (snd e' = snd e \/ (snd e' = (snd (snd e), fst (snd e)) /\ fst (snd e) <> None)).

Lemma count_app s l l' : count s (l ++ l') = (count s l + count s l')%nat.
Proof. induction l as [|j l IH]; simpl; lia. Qed.
Lemma left_app E E' : left (E ++ E') = left E ++ left E'. Proof. apply map_app. Qed.
Lemma right_app E E' : right (E ++ E') = right E ++ right E'. Proof. apply map_app. Qed.
Lemma kept_all E : Forall2 kept_or_swapped E E.
Proof. induction E; constructor; [split; auto|assumption]. Qed.
Lemma find_on_left s E : (0 < count s (left E))%nat ->
  exists E1 r o E2, E = E1 ++ (r, (Some s, o)) :: E2.
Proof.
  induction E as [|(r, (x, o)) E IH]; simpl; [lia|]. unfold does. intros H.
  destruct x as [t|]; [destruct (Nat.eqb_spec t s) as [->|Hn]|].
  - exists [], r, o, E. reflexivity.
  - destruct (IH H) as (E1 & r' & o' & E2 & ->). exists ((r, (Some t, o)) :: E1), r', o', E2.
    reflexivity.
  - destruct (IH H) as (E1 & r' & o' & E2 & ->). exists ((r, (None, o)) :: E1), r', o', E2.
    reflexivity.
Qed.

Theorem exchange : forall n E s, length E = n ->
  (count s (right E) < count s (left E))%nat ->
  exists E' d, Forall2 kept_or_swapped E E' /\
    (forall t, count t (left E') + does (Some s) t = count t (left E) + does d t)%nat /\
    (forall t, count t (right E') + does d t = count t (right E) + does (Some s) t)%nat /\
    (forall t, d = Some t -> (count t (left E) < count t (right E))%nat).
Proof.
  induction n as [n IH] using lt_wf_ind. intros E s Hn H.
  destruct (find_on_left s E ltac:(lia)) as (E1 & r & o & E2 & ->).
  assert (SPLIT : forall F1 F2 e t,
    count t (left (F1 ++ e :: F2)) =
      (count t (left F1) + count t (left F2) + does (fst (snd e)) t)%nat
    /\ count t (right (F1 ++ e :: F2)) =
       (count t (right F1) + count t (right F2) + does (snd (snd e)) t)%nat).
  { intros F1 F2 e t. rewrite left_app, right_app, !count_app. cbn [left right map count snd].
    fold (left F2). fold (right F2). lia. }
  assert (JOIN : forall F1 F2 t,
    count t (left (F1 ++ F2)) = (count t (left F1) + count t (left F2))%nat
    /\ count t (right (F1 ++ F2)) = (count t (right F1) + count t (right F2))%nat).
  { intros F1 F2 t. rewrite left_app, right_app, !count_app. split; reflexivity. }
  assert (STOP : (forall t, o = Some t ->
      (count t (left (E1 ++ (r, (Some s, o)) :: E2)) <
       count t (right (E1 ++ (r, (Some s, o)) :: E2)))%nat) ->
    exists E' d, Forall2 kept_or_swapped (E1 ++ (r, (Some s, o)) :: E2) E' /\
    (forall t, count t (left E') + does (Some s) t =
      count t (left (E1 ++ (r, (Some s, o)) :: E2)) + does d t)%nat /\
    (forall t, count t (right E') + does d t =
      count t (right (E1 ++ (r, (Some s, o)) :: E2)) + does (Some s) t)%nat /\
    (forall t, d = Some t -> (count t (left (E1 ++ (r, (Some s, o)) :: E2)) <
       count t (right (E1 ++ (r, (Some s, o)) :: E2)))%nat)).
  { intros D. exists (E1 ++ (r, (o, Some s)) :: E2), o. split; [|split; [|split]].
    - apply Forall2_app; [apply kept_all|]. constructor; [|apply kept_all].
      split; [reflexivity|]. right. split; [reflexivity|]. discriminate.
    - intros t. rewrite !(proj1 (SPLIT _ _ _ t)). cbn [fst snd]. lia.
    - intros t. rewrite !(proj2 (SPLIT _ _ _ t)). cbn [fst snd]. lia.
    - exact D. }
  destruct o as [w|]; [|apply STOP; discriminate].
  destruct (lt_dec (count w (left (E1 ++ (r, (Some s, Some w)) :: E2)))
                   (count w (right (E1 ++ (r, (Some s, Some w)) :: E2)))) as [D|D].
  { apply STOP. intros t [= <-]. exact D. }
  clear STOP. rewrite (proj1 (SPLIT _ _ _ _)), (proj2 (SPLIT _ _ _ _)) in D.
  rewrite (proj1 (SPLIT _ _ _ _)), (proj2 (SPLIT _ _ _ _)) in H.
  cbn [fst snd does] in D, H. rewrite Nat.eqb_refl in *.
  destruct (IH (length (E1 ++ E2)) ltac:(rewrite app_length in *; simpl in *; lia) (E1 ++ E2) w
    eq_refl) as (E' & d & F & C1 & C2 & Dd).
  { destruct (JOIN E1 E2 w) as [-> ->].
    destruct (Nat.eqb_spec s w); [subst w; rewrite ?Nat.eqb_refl in *; lia|]. lia. }
  apply Forall2_app_inv_l in F as (E1' & E2' & F1 & F2 & ->).
  exists (E1' ++ (r, (Some w, Some s)) :: E2'), d. split; [|split; [|split]].
  - apply Forall2_app; [exact F1|]. constructor; [|exact F2].
    split; [reflexivity|]. right. split; [reflexivity|]. discriminate.
  - intros t. rewrite !(proj1 (SPLIT _ _ _ t)). specialize (C1 t).
    rewrite !(proj1 (JOIN _ _ t)) in C1. cbn [fst snd] in *. lia.
  - intros t. rewrite !(proj2 (SPLIT _ _ _ t)). specialize (C2 t).
    rewrite !(proj2 (JOIN _ _ t)) in C2. cbn [fst snd] in *. lia.
  - intros t Et. specialize (Dd t Et). destruct (JOIN E1 E2 t) as [J1 J2].
    rewrite J1, J2 in Dd. rewrite (proj1 (SPLIT _ _ _ t)), (proj2 (SPLIT _ _ _ t)).
    cbn [fst snd does].
    destruct (Nat.eqb_spec s t), (Nat.eqb_spec w t); subst; rewrite ?Nat.eqb_refl in *; try lia.
Qed.

Lemma side_by_side : forall A A' : list job, map fst A = map fst A' ->
  exists E, left E = A /\ right E = A'.
Proof.
  induction A as [|(r, o) A IH]; intros [|(r', o') A'] H; try discriminate.
  - exists []. split; reflexivity.
  - injection H as -> H. destruct (IH A' H) as (E & <- & <-). exists ((r', (o, o')) :: E).
    split; reflexivity.
Qed.
Lemma same_clients E E' : Forall2 kept_or_swapped E E' ->
  map fst (left E') = map fst (left E) /\ map fst (right E') = map fst (left E).
Proof.
  induction 1 as [|e e' E E' [F _] _ [IH1 IH2]]; simpl; [auto|]. rewrite F, IH1, IH2. auto.
Qed.
Lemma same_total E E' : Forall2 kept_or_swapped E E' -> forall a c,
  cost (left E) = Some a -> cost (right E) = Some c ->
  exists a' c', cost (left E') = Some a' /\ cost (right E') = Some c' /\
    same_amount (add a' c') (add a c).
Proof.
  induction 1 as [|(r, (x, y)) (r', (x', y')) E E' [F S] _ IH]; intros a c Ha Hc.
  - simpl in *. injection Ha as <-. injection Hc as <-. exists (0, 0), (0, 0). repeat split; lra.
  - cbn [fst snd] in F, S. subst r'.
    assert (HEAD : forall o l v, cost ((r, o) :: l) = Some v -> exists u w, cost l = Some w /\
      (forall l' w', cost l' = Some w' -> exists v', cost ((r, o) :: l') = Some v' /\
        same_amount v' (add u w')) /\ same_amount v (add u w)).
    { intros [s|] l v H; simpl in H.
      - destruct (ask r s) as [u|] eqn:Ea; [|discriminate].
        destruct (cost l) as [w|]; [|discriminate]. injection H as <-. exists u, w.
        split; [reflexivity|]. split; [|split; reflexivity]. intros l' w' E1.
        exists (add u w'). simpl. rewrite Ea, E1. split; [reflexivity|split; reflexivity].
      - exists (0, 0), v. split; [exact H|]. split; [|amounts]. intros l' w' E1. exists w'.
        simpl. split; [exact E1|]. amounts. }
    apply HEAD in Ha as (u & w & Ew & Hu & Sa). apply HEAD in Hc as (u' & w' & Ew' & Hu' & Sc).
    destruct (IH w w' Ew Ew') as (b & b' & Eb & Eb' & Sb).
    destruct S as [S|[S _]]; injection S as -> ->.
    + destruct (Hu _ _ Eb) as (v & Ev & Sv), (Hu' _ _ Eb') as (v' & Ev' & Sv').
      exists v, v'. split; [exact Ev|]. split; [exact Ev'|]. clear - Sa Sb Sc Sv Sv'. amounts.
    + destruct (Hu' _ _ Eb) as (v & Ev & Sv), (Hu _ _ Eb') as (v' & Ev' & Sv').
      exists v, v'. split; [exact Ev|]. split; [exact Ev'|]. clear - Sa Sb Sc Sv Sv'. amounts.
Qed.

(* One client's worth of task s moves from an assignment that fills x to one that fills y <= x, at
   the same total cost; who is free on the left stays free there, and who works on the right goes on
   working. *)
Theorem move T rows x y s X Y a c : (s < T)%nat -> (forall t, (t < T)%nat -> (y t <= x t)%nat) ->
  (y s < x s)%nat -> fills T rows x X -> fills T rows y Y -> cost X = Some a -> cost Y = Some c ->
  exists X' Y' a' c', fills T rows (fewer x s) X' /\ fills T rows (more y s) Y' /\
    cost X' = Some a' /\ cost Y' = Some c' /\ same_amount (add a' c') (add a c) /\
    Forall2 (fun j j' => snd j = None -> snd j' = None) X X' /\
    Forall2 (fun j j' => snd j <> None -> snd j' <> None) Y Y'.
Proof.
  intros Hs Hyx Hlt (MX & CX & ZX) (MY & CY & ZY) Ea Ec.
  destruct (side_by_side X Y) as (E & <- & <-); [congruence|].
  destruct (exchange (length E) E s eq_refl) as (E' & d & F & C1 & C2 & D).
  { rewrite (CX s Hs), (CY s Hs). exact Hlt. }
  assert (N : d = None).
  { destruct d as [t|]; [exfalso|reflexivity]. specialize (D t eq_refl).
    destruct (lt_dec t T) as [Ht|Ht].
    - rewrite (CX t Ht), (CY t Ht) in D. specialize (Hyx t Ht). lia.
    - rewrite (ZX t), (ZY t) in D by lia. lia. }
  subst d. destruct (same_total E E' F a c Ea Ec) as (a' & c' & Ea' & Ec' & S).
  destruct (same_clients E E' F) as [M1 M2].
  exists (left E'), (right E'), a', c'.
  split; [|split; [|split; [exact Ea'|split; [exact Ec'|split; [exact S|split]]]]].
  - split; [congruence|]. split; intros t Ht; specialize (C1 t); simpl in C1; unfold fewer.
    + rewrite (CX t Ht) in C1. rewrite (Nat.eqb_sym t s). destruct (s =? t)%nat; lia.
    + rewrite (ZX t Ht) in C1. destruct (Nat.eqb_spec s t); lia.
  - split; [congruence|]. split; intros t Ht; specialize (C2 t); simpl in C2; unfold more.
    + rewrite (CY t Ht) in C2. rewrite (Nat.eqb_sym t s). destruct (s =? t)%nat; lia.
    + rewrite (ZY t Ht) in C2. destruct (Nat.eqb_spec s t); lia.
  - clear - F. induction F as [|e e' E E' [_ K] _ IH]; simpl; constructor; [|exact IH].
    intros H. cbn [snd] in *. destruct K as [-> |[_ C]]; [exact H|contradiction].
  - clear - F. induction F as [|e e' E E' [_ K] _ IH]; simpl; constructor; [|exact IH].
    intros H. cbn [snd] in *. destruct K as [-> |[-> C]]; [exact H|exact C].
Qed.

(* ------------------------------------------------------------------ 6. Lemma 1: substitutes *)
Lemma plus_none_right x : plus x None = None. Proof. destruct x; reflexivity. Qed.
Lemma sum_below T rows rows' x y X' Y' a a' c c' : fills T rows x X' -> fills T rows' y Y' ->
  cost X' = Some a' -> cost Y' = Some c' -> same_amount (add a' c') (add a c) ->
  plus (least T rows x) (least T rows' y) <<= plus (Some a) (Some c).
Proof.
  intros FX FY Ea Ec S.
  assert (L1 : least T rows x <<= Some a') by (rewrite <- Ea; apply least_is_least; exact FX).
  assert (L2 : least T rows' y <<= Some c') by (rewrite <- Ec; apply least_is_least; exact FY).
  eapply below_trans; [apply plus_mono; eassumption|]. simpl. clear - S. amounts.
Qed.
Lemma count_none (l : list job) s : (forall j, In j l -> snd j = None) -> count s l = 0%nat.
Proof.
  induction l as [|j l IH]; intros H; simpl; [reflexivity|].
  rewrite (H j (or_introl eq_refl)), IH; [reflexivity|]. intros k Hk. apply H. right. exact Hk.
Qed.
Lemma cost_free (l l' : list job) : (forall j, In j l -> snd j = None) -> cost (l ++ l') = cost l'.
Proof.
  induction l as [|(r, o) l IH]; intros H; [reflexivity|].
  pose proof (H (r, o) (or_introl eq_refl)) as E. simpl in E. subst o. simpl. apply IH.
  intros k Hk. apply H. right. exact Hk.
Qed.

(* The extra clients are in the market on the right only. *)
Theorem marginal T extra rows x y s : (s < T)%nat -> (forall t, (t < T)%nat -> (y t <= x t)%nat) ->
  (y s < x s)%nat ->
  plus (least T rows (fewer x s)) (least T (extra ++ rows) (more y s))
    <<= plus (least T rows x) (least T (extra ++ rows) y).
Proof.
  intros Hs Hyx Hlt. destruct (least T rows x) as [a|] eqn:Ex; [|exact I].
  destruct (least T (extra ++ rows) y) as [c|] eqn:Ey; [|exact I].
  destruct (least_is_reached _ _ _ _ Ex) as (X & (MX & CX & ZX) & Ca).
  destruct (least_is_reached _ _ _ _ Ey) as (Y & FY & Cc).
  set (P := map (fun r : row => (r, @None nat)) extra).
  assert (PF : forall j, In j P -> snd j = None).
  { intros j Hj. apply in_map_iff in Hj as (r & <- & _). reflexivity. }
  assert (FX : fills T (extra ++ rows) x (P ++ X)).
  { split; [|split].
    - rewrite map_app, MX. f_equal. unfold P. rewrite map_map. simpl. apply map_id.
    - intros t Ht. rewrite count_app, (count_none P t PF). apply CX. exact Ht.
    - intros t Ht. rewrite count_app, (count_none P t PF). apply ZX. exact Ht. }
  destruct (move T (extra ++ rows) x y s (P ++ X) Y a c Hs Hyx Hlt FX FY) as
    (X' & Y' & a' & c' & (M' & C' & Z') & FY' & Ea' & Ec' & S & FREE & _);
    [rewrite cost_free; assumption|exact Cc|].
  apply Forall2_app_inv_l in FREE as (P' & X'' & F1 & F2 & ->).
  assert (PF' : forall j, In j P' -> snd j = None).
  { clear - PF F1. induction F1 as [|j j' P P' H F IH]; intros k; [intros []|].
    intros [<-|Hk]; [apply H, PF; left; reflexivity|].
    apply IH; [intros i Hi; apply PF; right; exact Hi|exact Hk]. }
  rewrite cost_free in Ea' by exact PF'.
  apply (sum_below T rows (extra ++ rows) (fewer x s) (more y s) X'' Y' a a' c c'); try assumption.
  split; [|split].
  - rewrite map_app in M'. apply (f_equal (skipn (length extra))) in M'.
    rewrite !skipn_app in M'.
    assert (LP : length (map fst P') = length extra).
    { rewrite map_length. transitivity (length P); [|apply map_length].
      clear - F1. induction F1; simpl; congruence. }
    rewrite LP, Nat.sub_diag in M'. rewrite <- LP in M' at 1. rewrite !skipn_all in M'. exact M'.
  - intros t Ht. specialize (C' t Ht). rewrite count_app, (count_none P' t PF') in C'. exact C'.
  - intros t Ht. specialize (Z' t Ht). rewrite count_app, (count_none P' t PF') in Z'. exact Z'.
Qed.

Ltac quotas := intros; unfold fewer, more, all_more, level_quota in *;
  repeat match goal with |- context [(?a =? ?c)%nat] => destruct (Nat.eqb_spec a c); subst end;
  try lia.

(* marginals grow with the quota of every task *)
Theorem substitutes T rows q s t : (s < T)%nat -> (t < T)%nat ->
  plus (least T rows (more q s)) (least T rows (more q t))
    <<= plus (least T rows (more (more q s) t)) (least T rows q).
Proof.
  intros Hs Ht. pose proof (marginal T [] rows (more (more q s) t) q t Ht) as M. simpl app in M.
  rewrite (least_same_quota T rows (more q s) (fewer (more (more q s) t) t)).
  - apply M; quotas.
  - quotas.
Qed.
(* and do not rise when clients are added *)
Theorem more_clients T extra rows q s : (s < T)%nat ->
  plus (least T (extra ++ rows) (more q s)) (least T rows q)
    <<= plus (least T rows (more q s)) (least T (extra ++ rows) q).
Proof.
  intros Hs. pose proof (marginal T extra rows (more q s) q s Hs) as M.
  rewrite (least_same_quota T rows q (fewer (more q s) s)) by quotas.
  eapply below_trans; [|apply M; quotas].
  destruct (least T rows _) as [a|], (least T (extra ++ rows) _) as [c|]; try exact I. simpl.
  amounts.
Qed.

(* ------------------------------------------------------------------ 7. Lemma 2: one client is one
  level. The others' marginal price at q is at most everybody's at q + 1. *)
Theorem one_client_one_level T r rows q t : (t < T)%nat ->
  plus (least T rows (more q t)) (least T (r :: rows) (all_more q))
    <<= plus (least T (r :: rows) (more (all_more q) t)) (least T rows q).
Proof.
  intros Ht. destruct (least T (r :: rows) (more (all_more q) t)) as [a|] eqn:Ea; [|exact I].
  destruct (least T rows q) as [c|] eqn:Ec; [|exact I].
  destruct (least_is_reached _ _ _ _ Ea) as (X & (MX & CX & ZX) & Ca).
  destruct (least_is_reached _ _ _ _ Ec) as (Y & FY & Cc).
  destruct X as [|(r', o) X]; [discriminate|]. injection MX as -> MX.
  set (x := fun u => (more (all_more q) t u - does o u)%nat).
  assert (FX : fills T rows x X).
  { split; [exact MX|]. split; intros u Hu; unfold x.
    - specialize (CX u Hu). simpl in CX. lia.
    - specialize (ZX u Hu). simpl in ZX. lia. }
  assert (D : forall u, (does o u <= 1)%nat).
  { intros u. destruct o as [v|]; simpl; [destruct (v =? u)%nat|]; lia. }
  assert (HEAD : exists u w, cost X = Some w /\ same_amount a (add u w) /\
    forall l w', cost l = Some w' -> exists v, cost ((r, o) :: l) = Some v /\
      same_amount v (add u w')).
  { destruct o as [s|]; simpl in Ca.
    - destruct (ask r s) as [u|] eqn:E; [|discriminate]. destruct (cost X) as [w|]; [|discriminate].
      injection Ca as <-. exists u, w. split; [reflexivity|]. split; [split; reflexivity|].
      intros l w' El. exists (add u w'). simpl. rewrite E, El. split; [|split]; reflexivity.
    - exists (0, 0), a. split; [exact Ca|]. split; [amounts|]. intros l w' El. exists w'. simpl.
      split; [exact El|]. amounts. }
  destruct HEAD as (u & w & Ew & Sa & Hv).
  destruct (move T rows x q t X Y w c Ht) as (X' & Y' & a' & c' & FX' & FY' & Ea' & Ec' & S & _);
    try assumption.
  { intros v Hv'. unfold x. specialize (D v). quotas. }
  { unfold x. specialize (D t). quotas. }
  destruct (Hv X' a' Ea') as (v & Ev & Sv).
  assert (Sum : same_amount (add v c') (add a c)) by (clear - S Sa Sv; amounts).
  assert (R := fun F => sum_below T (r :: rows) rows (all_more q) (more q t) ((r, o) :: X') Y' a v c
    c' F FY' Ev Ec' Sum).
  eapply below_trans; [|apply R].
  - destruct (least T rows (more q t)) as [k|], (least T (r :: rows) (all_more q)) as [m|];
      try exact I. simpl. amounts.
  - destruct FX' as (M' & C' & Z'). split; [simpl; rewrite M'; reflexivity|].
    split; intros z Hz; simpl.
    + rewrite (C' z Hz). specialize (D z). specialize (CX z Hz). cbn [count snd] in CX.
      unfold x, fewer, more, all_more in *. destruct (Nat.eqb_spec z t); lia.
    + rewrite (Z' z Hz). specialize (ZX z Hz). simpl in ZX. lia.
Qed.
(* the same for lower marginals, where the others' quota of t is positive *)
Theorem one_client_one_level_below T r rows q t : (t < T)%nat -> (0 < q t)%nat ->
  plus (least T rows q) (least T (r :: rows) (fewer (all_more q) t))
    <<= plus (least T (r :: rows) (all_more q)) (least T rows (fewer q t)).
Proof.
  intros Ht Hq. pose proof (one_client_one_level T r rows (fewer q t) t Ht) as M.
  rewrite (least_same_quota T rows q (more (fewer q t) t)) by quotas.
  rewrite (least_same_quota T (r :: rows) (fewer (all_more q) t) (all_more (fewer q t))) by quotas.
  rewrite (least_same_quota T (r :: rows) (all_more q) (more (all_more (fewer q t)) t)) by quotas.
  exact M.
Qed.

(* ------------------------------------------------------------------ 8. recruits stay *)
(* From an optimum at q there is an optimum with one place of task s more in which everybody who
   works goes on working (part of Lemma 3, without its count of moves). *)
Theorem recruits_stay T rows q s Y : (s < T)%nat -> fills T rows q Y -> cost Y <<= least T rows q ->
  least T rows (more q s) <> None ->
  exists Y', fills T rows (more q s) Y' /\ cost Y' <<= least T rows (more q s) /\
    Forall2 (fun j j' => snd j <> None -> snd j' <> None) Y Y'.
Proof.
  intros Hs FY OY F. destruct (least T rows (more q s)) as [a|] eqn:Ea; [|contradiction].
  destruct (least_is_reached _ _ _ _ Ea) as (X & FX & Ca).
  assert (Fq : exists d, least T rows q = Some d).
  { pose proof (least_is_least T rows q Y FY) as L. pose proof OY as O.
    destruct (least T rows q) as [d|] eqn:Ed; [exists d; reflexivity|exfalso].
    (* X with one client of s less fills q *)
    destruct (cost Y) as [c|] eqn:Cc; [destruct L|].
    pose proof (marginal T [] rows (more q s) (fun _ => 0%nat) s Hs) as M. simpl app in M.
    destruct (least T rows (fun _ => 0%nat)) as [z|] eqn:Ez.
    - rewrite (least_same_quota T rows (fewer (more q s) s) q), Ed, Ea in M by quotas.
      apply M; [intros; lia|]. unfold more. rewrite Nat.eqb_refl. lia.
    - set (free := map (fun r : row => (r, @None nat)) rows).
      assert (N : forall j, In j free -> snd j = None).
      { intros j Hj. apply in_map_iff in Hj as (r & <- & _). reflexivity. }
      assert (Z : least T rows (fun _ => 0%nat) <<= cost free).
      { apply least_is_least. split; [unfold free; rewrite map_map; apply map_id|].
        split; intros t _; apply count_none; exact N. }
      rewrite Ez, <- (app_nil_r free), (cost_free free [] N) in Z. exact Z. }
  destruct Fq as (d & Ed). rewrite Ed in OY. destruct (cost Y) as [c|] eqn:Cc; [|destruct OY].
  destruct (move T rows (more q s) q s X Y a c Hs) as
    (X' & Y' & a' & c' & FX' & FY' & Ea' & Ec' & S & _ & W); try assumption; try quotas.
  exists Y'. split; [exact FY'|]. split; [|exact W]. rewrite Ec'. simpl.
  assert (L : least T rows q <<= Some a').
  { rewrite <- Ea', (least_same_quota T rows q (fewer (more q s) s)) by quotas.
    apply least_is_least. exact FX'. }
  rewrite Ed in L. simpl in L, OY. clear - L OY S. amounts.
Qed.
