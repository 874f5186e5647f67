(* The default auction max_min_fair, DEFINED from the table of bids and proved for every number of
   clients N, every number of tasks T and all rational bids (every float and Fraction is one).

   Part 1 is the rule, line by line like exact_offer, among_cheapest and water_level in
   mechanisms/auctions: read it beside them. Everything below it is checked by the kernel.

   A bid of None means: does not bid. Ties go to the lower index. `outside t` are the bids of sellers
   outside the auction: [] without a reserve price, N + 1 copies of it with one.

   There are no hypotheses about columns, ranks or levels. Numbers are rational, so no axioms of the
   real numbers come in; order statistics go through counts (kth_le: the k-th bid is at most c iff at
   least k bids are), so nobody's own bid has to be inserted into a column; and the level in the
   proof of the budget is the largest among the winners, so no largest feasible level is needed. *)
From Coq Require Import QArith Lqa Lia List Arith Bool.
Import ListNotations.
Open Scope Q_scope.

(* ------------------------------------------------------------------ 1. the rule, executable *)
(* k as a rational number *)
Definition nQ (k : nat) : Q := inject_Z (Z.of_nat k).
Definition qmin (x y : Q) : Q := if Qle_bool x y then x else y.
Definition qmax (x y : Q) : Q := if Qle_bool x y then y else x.
(* the smaller one, None being infinite *)
Definition mn (o : option Q) (c : Q) : Q := match o with Some x => qmin x c | None => c end.
Definition omin (o o' : option Q) : option Q :=
  match o, o' with Some x, Some y => Some (qmin x y) | Some x, None => Some x | None, _ => o' end.

Fixpoint insert (x : Q) (l : list Q) : list Q :=
  match l with [] => [x] | y :: r => if Qle_bool x y then x :: l else y :: insert x r end.
Fixpoint sort (l : list Q) : list Q := match l with [] => [] | x :: r => insert x (sort r) end.
(* the k-th of some sorted bids; 0 at k = 0, None after the last *)
Definition kth (l : list Q) (k : nat) : option Q :=
  match k with O => Some 0 | S j => nth_error l j end.
Fixpoint sumQ (l : list Q) : Q := match l with [] => 0 | x :: r => x + sumQ r end.

(* largest of some bids; None as soon as one is missing *)
Fixpoint highest (l : list (option Q)) : option Q :=
  match l with
  | [] => Some 0
  | None :: _ => None
  | Some a :: r => match highest r with Some m => Some (qmax a m) | None => None end
  end.
Definition capped (c : Q) (l : list (option Q)) : Q := sumQ (map (fun o => mn o c) l).

(* the water level: root of sum_t min(x_t, lambda) = left, None = infinity *)
Fixpoint pour (finite : list Q) (missing : nat) (left : Q) : option Q :=
  match finite with
  | [] => match missing with O => None | _ => Some (left / nQ missing) end
  | a :: r => let share := left / nQ (length finite + missing) in
              if Qle_bool a share then pour r missing (left - a) else Some share
  end.
Fixpoint present (l : list (option Q)) : list Q :=
  match l with [] => [] | Some a :: r => a :: present r | None :: r => present r end.
Fixpoint absent (l : list (option Q)) : nat :=
  match l with [] => O | Some _ :: r => absent r | None :: r => S (absent r) end.
Definition water_level (l : list (option Q)) (total : Q) : option Q :=
  pour (sort (present l)) (absent l) total.

Fixpoint largest (top : nat) (holds : nat -> bool) : nat :=
  match top with O => O | S k => if holds top then top else largest k holds end.

Definition profile := nat -> nat -> option Q.      (* client, task *)

Section Rule.
Variables (N T : nat) (B : Q) (outside : nat -> list Q).
Implicit Types b : profile.

Definition clients := seq 0 N.
Definition tasks := seq 0 T.
Definition others (i : nat) := filter (fun j => negb (j =? i)%nat) clients.
Definition bids b (cl : list nat) (t : nat) : list Q :=
  flat_map (fun j => match b j t with Some a => [a] | None => [] end) cl.
(* the bids of some clients and the outside sellers for one task, cheapest first *)
Definition column b (cl : list nat) (t : nat) : list Q := sort (outside t ++ bids b cl t).

(* what clients that lose at level k would bid, seen by client i: its own task s, and the others *)
Definition losers b (i s k : nat) : list (option Q) :=
  map (fun t => kth (column b (others i) t) (if (t =? s)%nat then k else S k)) tasks.
Definition winning b (i s k : nat) : list (option Q) :=
  map (fun t => kth (column b (others i) t) (if (t =? s)%nat then k - 1 else k)%nat) tasks.
(* k times the capped sum is within the budget *)
Definition fits (k : nat) (l : list (option Q)) (cap : Q) : bool :=
  Qle_bool (nQ k * capped cap l) B.
Definition is_open b (i s k : nat) : bool :=
  match highest (winning b i s k) with Some cap => fits k (losers b i s k) cap | None => false end.
Definition level b (i s : nat) : nat := largest N (is_open b i s).
Definition price_at b (i s k : nat) : option Q :=
  omin (kth (column b (others i) s) k) (water_level (losers b i s k) (B / nQ k)).
Definition price b (i s : nat) : option Q :=
  match level b i s with O => None | k => price_at b i s k end.

(* client j bids x and client i bids a: is j served first? *)
Definition before (x : Q) (j : nat) (a : Q) (i : nat) : bool :=
  if Qle_bool a x then Qle_bool x a && (j <? i)%nat else true.
Definition ahead b (s j : nat) (a : Q) (i : nat) : bool :=
  match b j s with Some x => before x j a i | None => false end.
Definition rank b (i s : nat) (a : Q) : nat :=
  length (filter (fun j => ahead b s j a i) (others i)).

(* what client i is paid for task s; None = not recruited *)
Definition outcome b (i s : nat) : option Q :=
  match b i s, price b i s with
  | Some a, Some p => if Qle_bool a p && (rank b i s a <? level b i s)%nat then Some p else None
  | _, _ => None
  end.
Definition wins b (s i : nat) : bool := match outcome b i s with Some _ => true | None => false end.
Definition pay b (s i : nat) : Q := match outcome b i s with Some p => p | None => 0 end.
Definition spend b : Q := sumQ (map (fun s => sumQ (map (pay b s) clients)) tasks).
End Rule.

(* utilities with infinite costs: None = minus infinity *)
Definition gain (paid cost : option Q) : option Q :=
  match paid, cost with
  | None, _ => Some 0
  | Some p, Some c => Some (p - c)
  | Some _, None => None
  end.
Fixpoint total (l : list (option Q)) : option Q :=
  match l with
  | [] => Some 0
  | None :: _ => None
  | Some a :: r => match total r with Some m => Some (a + m) | None => None end
  end.
Definition ule (u v : option Q) : Prop :=
  match u, v with None, _ => True | Some x, Some y => x <= y | Some _, None => False end.
Definition utility N T B outside (b : profile) (i : nat) (cost : nat -> option Q) : option Q :=
  total (map (fun s => gain (outcome N T B outside b i s) (cost s)) (tasks T)).

(* ------------------------------------------------------------------ 2. numbers *)
Lemma qle_true x y : Qle_bool x y = true <-> x <= y.
Proof. apply Qle_bool_iff. Qed.
Lemma qle_false x y : Qle_bool x y = false <-> y < x.
Proof.
  split; intros H.
  - apply Qnot_le_lt. intros C. apply Qle_bool_iff in C. congruence.
  - destruct (Qle_bool x y) eqn:E; [|reflexivity]. apply Qle_bool_iff in E. lra.
Qed.
Ltac qcase x y :=
  let E := fresh "E" in destruct (Qle_bool x y) eqn:E; [apply qle_true in E|apply qle_false in E].
Lemma qmin_spec x y : (x <= y /\ qmin x y = x) \/ (y < x /\ qmin x y = y).
Proof. unfold qmin. qcase x y; auto. Qed.
Lemma qmax_spec x y : (x <= y /\ qmax x y = y) \/ (y < x /\ qmax x y = x).
Proof. unfold qmax. qcase x y; auto. Qed.
Ltac mm := repeat match goal with
  | |- context [qmin ?x ?y] => let E := fresh in destruct (qmin_spec x y) as [[? E]|[? E]];
    rewrite E in *; clear E
  | |- context [qmax ?x ?y] => let E := fresh in destruct (qmax_spec x y) as [[? E]|[? E]];
    rewrite E in *; clear E
  | H : context [qmin ?x ?y] |- _ => let E := fresh in destruct (qmin_spec x y) as [[? E]|[? E]];
    rewrite E in *; clear E
  | H : context [qmax ?x ?y] |- _ => let E := fresh in destruct (qmax_spec x y) as [[? E]|[? E]];
    rewrite E in *; clear E
  end.

Lemma nQ_S k : nQ (S k) == nQ k + 1.
Proof. unfold nQ. rewrite Nat2Z.inj_succ. unfold Z.succ. rewrite inject_Z_plus. reflexivity. Qed.
Lemma nQ_0 : nQ 0 = 0. Proof. reflexivity. Qed.
Lemma nQ_pos k : 0 <= nQ k.
Proof. induction k; [rewrite nQ_0; lra|rewrite nQ_S; lra]. Qed.
Lemma nQ_pos1 k : (1 <= k)%nat -> 0 < nQ k.
Proof. destruct k; [lia|]. intros _. rewrite nQ_S. pose proof (nQ_pos k). lra. Qed.
Lemma nQ_le j k : (j <= k)%nat -> nQ j <= nQ k.
Proof. induction 1; [lra|]. rewrite nQ_S. lra. Qed.
Lemma nQ_add j k : nQ (j + k) == nQ j + nQ k.
Proof. induction j; simpl Nat.add; [rewrite nQ_0; lra|]. rewrite !nQ_S, IHj. lra. Qed.
Lemma mul_mono k x y : x <= y -> nQ k * x <= nQ k * y.
Proof. intros H. rewrite !(Qmult_comm (nQ k)). apply Qmult_le_compat_r; [exact H|apply nQ_pos]. Qed.
Lemma mul_mono_l j k x : (j <= k)%nat -> 0 <= x -> nQ j * x <= nQ k * x.
Proof. intros H Hx. apply Qmult_le_compat_r; [apply nQ_le; exact H|exact Hx]. Qed.
Lemma share_mul k r : (1 <= k)%nat -> nQ k * (r / nQ k) == r.
Proof. intros H. apply Qmult_div_r. pose proof (nQ_pos1 k H). lra. Qed.

(* ------------------------------------------------------------------ 3.
  order statistics by counting *)
Definition cnt (l : list Q) (c : Q) : nat := length (filter (fun x => Qle_bool x c) l).
Fixpoint ordered (l : list Q) : Prop :=
  match l with [] => True | x :: r => (forall y, In y r -> x <= y) /\ ordered r end.
Definition nonneg (l : list Q) : Prop := forall x, In x l -> 0 <= x.

Lemma cnt_cons x l c : cnt (x :: l) c = ((if Qle_bool x c then 1 else 0) + cnt l c)%nat.
Proof. unfold cnt. simpl. destruct (Qle_bool x c); reflexivity. Qed.
Lemma cnt_app l l' c : cnt (l ++ l') c = (cnt l c + cnt l' c)%nat.
Proof. unfold cnt. rewrite filter_app, app_length. reflexivity. Qed.
Lemma cnt_insert x l c : cnt (insert x l) c = cnt (x :: l) c.
Proof.
  induction l as [|y l IH]; simpl; [reflexivity|]. destruct (Qle_bool x y); [reflexivity|].
  rewrite !cnt_cons, IH, cnt_cons. lia.
Qed.
Lemma cnt_sort l c : cnt (sort l) c = cnt l c.
Proof. induction l as [|x l IH]; simpl; [reflexivity|]. rewrite cnt_insert, !cnt_cons, IH.
  reflexivity. Qed.
Lemma in_insert x l y : In y (insert x l) <-> y = x \/ In y l.
Proof.
  induction l as [|z l IH]; simpl; [intuition|]. destruct (Qle_bool x z); simpl; [intuition|].
  rewrite IH. intuition.
Qed.
Lemma in_sort l y : In y (sort l) <-> In y l.
Proof. induction l as [|x l IH]; simpl; [intuition|]. rewrite in_insert, IH. intuition. Qed.
Lemma ordered_insert x l : ordered l -> ordered (insert x l).
Proof.
  induction l as [|y l IH]; simpl; [intuition|]. intros [H1 H2]. qcase x y; simpl.
  - split; [|auto]. intros z [<-|Hz]; [exact E|]. specialize (H1 z Hz). lra.
  - split; [|auto]. intros z Hz. apply in_insert in Hz as [->|Hz]; [lra|auto].
Qed.
Lemma ordered_sort l : ordered (sort l).
Proof. induction l; simpl; [exact I|]. apply ordered_insert; assumption. Qed.
Lemma cnt_mono l c d : c <= d -> (cnt l c <= cnt l d)%nat.
Proof.
  intros H. induction l as [|x l IH]; [reflexivity|]. rewrite !cnt_cons.
    qcase x c; qcase x d; try lia. lra.
Qed.
Lemma nth_cnt l : forall k v, ordered l -> nth_error l k = Some v -> (S k <= cnt l v)%nat.
Proof.
  induction l as [|x l IH]; intros k v Ho Hk; [destruct k; discriminate|]. destruct Ho as [H1 H2].
  rewrite cnt_cons. destruct k as [|k]; simpl in Hk.
  - injection Hk as ->. qcase v v; [lia|lra].
  - specialize (IH k v H2 Hk). apply nth_error_In in Hk. specialize (H1 v Hk). qcase x v; [lia|lra].
Qed.
Lemma cnt_none l c : (forall y, In y l -> c < y) -> cnt l c = O.
Proof.
  induction l as [|x l IH]; intros H; [reflexivity|]. rewrite cnt_cons, IH; [|intros; apply H;
    right; assumption].
  assert (c < x) by (apply H; left; reflexivity). qcase x c; [lra|reflexivity].
Qed.
Lemma cnt_nth l : forall k c, ordered l -> (S k <= cnt l c)%nat -> exists v,
  nth_error l k = Some v /\ v <= c.
Proof.
  induction l as [|x l IH]; intros k c Ho Hk; [simpl in Hk; unfold cnt in Hk; simpl in Hk; lia|].
  destruct Ho as [H1 H2]. rewrite cnt_cons in Hk. qcase x c.
  - destruct k as [|k]; [exists x; split; [reflexivity|exact E]|]. apply IH; [exact H2|lia].
  - rewrite cnt_none in Hk; [lia|]. intros y Hy. specialize (H1 y Hy). lra.
Qed.
Lemma kth_le l k c : ordered l -> 0 <= c -> ((exists v, kth l k = Some v /\ v <= c) <-> (k <= cnt l
  c)%nat).
Proof.
  intros Ho Hc. destruct k as [|k]; simpl.
  - split; [lia|]. intros _. exists 0. auto.
  - split.
    + intros (v & Hv & Hle). pose proof (nth_cnt l k v Ho Hv). pose proof (cnt_mono l v c Hle). lia.
    + apply cnt_nth; exact Ho.
Qed.
Lemma kth_nonneg l k v : nonneg l -> kth l k = Some v -> 0 <= v.
Proof.
  intros Hn H. destruct k as [|k]; simpl in H; [injection H as <-; lra|]. apply Hn.
    eapply nth_error_In; exact H.
Qed.

Definition below (p : Q) (o : option Q) : Prop := match o with Some y => p <= y | None => True end.
Definition obelow (o o' : option Q) : Prop := match o' with None => True | Some y => exists x,
  o = Some x /\ x <= y end.

Lemma obelow_counts l l' k k' : ordered l -> ordered l' -> nonneg l' ->
  (forall c, 0 <= c -> (k' <= cnt l' c)%nat -> (k <= cnt l c)%nat) -> obelow (kth l k) (kth l' k').
Proof.
  intros Ho Ho' Hn H. unfold obelow. destruct (kth l' k') as [y|] eqn:E; [|exact I].
  assert (0 <= y) by (eapply kth_nonneg; eassumption).
  apply kth_le; [assumption..|]. apply H; [assumption|]. apply kth_le; [assumption..|].
    exists y; split; [exact E|lra].
Qed.
Lemma below_counts l k p : ordered l -> nonneg l ->
  (forall c, 0 <= c -> (k <= cnt l c)%nat -> p <= c) -> below p (kth l k).
Proof.
  intros Ho Hn H. unfold below. destruct (kth l k) as [y|] eqn:E; [|exact I].
  assert (0 <= y) by (eapply kth_nonneg; eassumption).
  apply H; [assumption|]. apply kth_le; [assumption..|]. exists y; split; [exact E|lra].
Qed.
Lemma counts_below l k p c : ordered l -> 0 <= c -> below p (kth l k) -> (k <= cnt l c)%nat -> p <=
  c.
Proof. intros Ho Hc Hb Hk. apply kth_le in Hk as (v & E & Hv); [|assumption..].
  rewrite E in Hb; simpl in Hb. lra. Qed.

(* ------------------------------------------------------------------ 4. capped sums, water level *)
Lemma mn_mono o o' c c' : obelow o o' -> c <= c' -> mn o c <= mn o' c'.
Proof.
  intros H Hc. destruct o' as [y|]; simpl in *.
  - destruct H as (x & -> & Hx). simpl. mm; lra.
  - destruct o as [x|]; simpl; mm; lra.
Qed.
Lemma capped_mono (f g : nat -> option Q) ts c c' : (forall t,
  In t ts -> obelow (f t) (g t)) -> c <= c' ->
  capped c (map f ts) <= capped c' (map g ts).
Proof.
  intros H Hc. unfold capped. induction ts as [|t ts IH]; simpl; [lra|].
  assert (mn (f t) c <= mn (g t) c') by (apply mn_mono; [apply H; left; reflexivity|exact Hc]).
  assert (IH' := IH (fun t Ht => H t (or_intror Ht))). lra.
Qed.
Lemma obelow_refl o : obelow o o.
Proof. destruct o as [x|]; simpl; [exists x; split; [reflexivity|lra]|exact I]. Qed.
Lemma highest_ge l m : highest l = Some m -> 0 <= m /\ forall o, In o l -> exists a,
  o = Some a /\ a <= m.
Proof.
  revert m; induction l as [|[a|] l IH]; intros m H; simpl in H; [|destruct (highest l) as [m'|]|];
    try discriminate.
  - injection H as <-. split; [lra|]. intros o [].
  - injection H as <-. destruct (IH m' eq_refl) as [P Q]. split; [mm; lra|]. intros o [<-|Ho].
    + exists a; split; [reflexivity|mm; lra].
    + destruct (Q o Ho) as (x & E & Hx). exists x; split; [exact E|mm; lra].
Qed.
Lemma highest_le l c : 0 <= c -> (forall o, In o l -> exists a, o = Some a /\ a <= c) ->
  exists m, highest l = Some m /\ m <= c.
Proof.
  intros Hc. induction l as [|o l IH]; intros H; simpl; [exists 0; auto|].
  destruct (H o (or_introl eq_refl)) as (a & -> & Ha). destruct IH as (m & -> & Hm); [intros;
    apply H; right; assumption|].
  exists (qmax a m); split; [reflexivity|mm; lra].
Qed.

Lemma pour_fits fin miss : forall left p, 0 <= left -> below p (pour fin miss left) ->
  sumQ (map (fun a => qmin a p) fin) + nQ miss * p <= left.
Proof.
  induction fin as [|a fin IH]; intros left p Hl Hb.
  - simpl in *. destruct miss as [|k]; [rewrite nQ_0; lra|]. unfold below in Hb.
    pose proof (mul_mono (S k) _ _ Hb) as M. rewrite share_mul in M; [lra|lia].
  - cbn [pour] in Hb. set (d := (length (a :: fin) + miss)%nat) in *.
    assert (D : (1 <= d)%nat) by (unfold d; simpl; lia). pose proof (share_mul d left D) as SM.
    assert (E1 : nQ d == 1 + nQ (length fin) + nQ miss).
    { unfold d. rewrite nQ_add. simpl length. rewrite nQ_S. lra. }
    simpl map. simpl sumQ. qcase a (left / nQ d).
    + assert (A : a <= left).
      { assert (0 <= left / nQ d). { apply Qle_shift_div_l; [apply nQ_pos1; exact D|lra]. }
        assert (1 * (left / nQ d) <= nQ d * (left / nQ d)).
        { apply Qmult_le_compat_r; [|assumption]. pose proof (nQ_pos (length fin)).
          pose proof (nQ_pos miss). lra. }
        lra. }
      specialize (IH (left - a) p ltac:(lra) Hb). mm; lra.
    + simpl in Hb. assert (forall l, sumQ (map (fun x => qmin x p) l) <= nQ (length l) * p) as L.
      { induction l as [|x l IHl]; simpl; [rewrite nQ_0; lra|]. rewrite nQ_S. mm; lra. }
      specialize (L fin). pose proof (mul_mono d _ _ Hb) as M. rewrite SM, E1 in M. mm; lra.
Qed.
Lemma sum_insert (f : Q -> Q) x l : sumQ (map f (insert x l)) == f x + sumQ (map f l).
Proof. induction l as [|y l IH]; simpl; [lra|]. destruct (Qle_bool x y); simpl; [lra|]. rewrite IH.
  lra. Qed.
Lemma sum_sort (f : Q -> Q) l : sumQ (map f (sort l)) == sumQ (map f l).
Proof. induction l as [|x l IH]; simpl; [lra|]. rewrite sum_insert, IH. lra. Qed.
Lemma capped_split c l : capped c l == sumQ (map (fun a => qmin a c) (present l)) + nQ (absent l) *
  c.
Proof.
  unfold capped. induction l as [|[a|] l IH]; simpl; [rewrite nQ_0; lra|rewrite IH; lra|].
  rewrite IH, nQ_S. lra.
Qed.
Theorem water_level_fits l r p : 0 <= r -> below p (water_level l r) -> capped p l <= r.
Proof. intros Hr H. rewrite capped_split, <- sum_sort. apply pour_fits; assumption. Qed.

Lemma pour_largest fin miss : forall left p, ordered fin ->
  sumQ (map (fun a => qmin a p) fin) + nQ miss * p <= left -> below p (pour fin miss left).
Proof.
  induction fin as [|a fin IH]; intros left p Ho H.
  - simpl in *. destruct miss as [|k]; [exact I|]. apply Qle_shift_div_l; [apply nQ_pos1; lia|].
    lra.
  - cbn [pour]. set (d := (length (a :: fin) + miss)%nat) in *.
    assert (D : (1 <= d)%nat) by (unfold d; simpl; lia). pose proof (share_mul d left D) as SM.
    assert (E1 : nQ d == 1 + nQ (length fin) + nQ miss).
    { unfold d. rewrite nQ_add. simpl length. rewrite nQ_S. lra. }
    destruct Ho as [H1 H2]. simpl map in H. simpl sumQ in H. qcase a (left / nQ d).
    + apply IH; [exact H2|]. destruct (Qlt_le_dec p a) as [P|P]; [|mm; lra].
      assert (forall l, sumQ (map (fun x => qmin x p) l) <= nQ (length l) * p) as L.
      { induction l as [|x l IHl]; simpl; [rewrite nQ_0; lra|]. rewrite nQ_S. mm; lra. }
      specialize (L fin). set (sh := left / nQ d) in *. rewrite E1 in SM.
      assert (P' : p <= sh) by lra.
      pose proof (mul_mono (length fin) _ _ P') as M1. pose proof (mul_mono miss _ _ P') as M2. lra.
    + simpl. apply Qnot_lt_le. intros C. set (sh := left / nQ d) in *.
      assert (forall l, (forall y, In y l -> sh < y) -> nQ (length l) * sh <= sumQ (map (fun x =>
        qmin x p) l)) as L.
      { induction l as [|x l IHl]; intros Hl; simpl; [rewrite nQ_0; lra|]. rewrite nQ_S.
        assert (sh < x) by (apply Hl; left; reflexivity).
          assert (IH' := IHl (fun y Hy => Hl y (or_intror Hy))). mm; lra. }
      specialize (L fin ltac:(intros y Hy; specialize (H1 y Hy); lra)).
      pose proof (mul_mono miss sh p ltac:(lra)) as M2. rewrite E1 in SM. mm; lra.
Qed.
Theorem water_level_largest l r p : capped p l <= r -> below p (water_level l r).
Proof. intros H. rewrite capped_split, <- sum_sort in H. apply pour_largest;
  [apply ordered_sort|exact H]. Qed.

(* ------------------------------------------------------------------ 5. the rule's facts *)
Lemma largest_le top f : (largest top f <= top)%nat.
Proof. induction top as [|k IH]; simpl; [lia|]. destruct (f (S k)); lia. Qed.
Lemma largest_holds top f k : largest top f = S k -> f (S k) = true.
Proof. induction top as [|t IH]; simpl; [discriminate|]. destruct (f (S t)) eqn:E; [intros [= <-];
  exact E|exact IH]. Qed.
Lemma largest_ge top f k : (1 <= k <= top)%nat -> f k = true -> (k <= largest top f)%nat.
Proof.
  induction top as [|t IH]; intros H Hf; simpl; [lia|]. destruct (f (S t)) eqn:E; [lia|].
  apply IH; [|exact Hf]. assert (k <> S t) by congruence. lia.
Qed.

Section Facts.
Variables (N T : nat) (B : Q) (outside : nat -> list Q).
Hypothesis budget_nonneg : 0 <= B.
Hypothesis outside_nonneg : forall t, nonneg (outside t).
Notation clients := (clients N).
Notation tasks := (tasks T).
Notation others := (others N).
Notation column := (column outside).
Notation losers := (losers N T outside).
Notation winning := (winning N T outside).
Notation is_open := (is_open N T B outside).
Notation level := (level N T B outside).
Notation price := (price N T B outside).
Notation outcome := (outcome N T B outside).
Notation wins := (wins N T B outside).
Notation pay := (pay N T B outside).
Notation spend := (spend N T B outside).
Notation rank := (rank N).

Definition bids_nonneg (b : profile) := forall i t a, b i t = Some a -> 0 <= a.
Definition agree_but (i : nat) (b b' : profile) := forall j t, j <> i -> b j t = b' j t.

Lemma in_others i j : In j (others i) <-> (j < N)%nat /\ j <> i.
Proof.
  unfold Auction.others, Auction.clients. rewrite filter_In, in_seq, negb_true_iff, Nat.eqb_neq.
    lia.
Qed.

(* --- offers do not read the client's own row --- *)
Lemma flat_map_same {A C} (f g : A -> list C) l : (forall x,
  In x l -> f x = g x) -> flat_map f l = flat_map g l.
Proof. induction l as [|x l IH]; intros H; simpl; [reflexivity|]. rewrite IH, (H x); intuition. Qed.
Lemma column_agree i b b' t : agree_but i b b' -> column b (others i) t = column b' (others i) t.
Proof.
  intros H. unfold Auction.column, bids. f_equal. f_equal. apply flat_map_same. intros j Hj.
    apply in_others in Hj.
  rewrite (H j t); [reflexivity|tauto].
Qed.
Lemma losers_agree i b b' s k : agree_but i b b' -> losers b i s k = losers b' i s k.
Proof. intros H. apply map_ext. intros t. rewrite (column_agree i b b' t H). reflexivity. Qed.
Lemma winning_agree i b b' s k : agree_but i b b' -> winning b i s k = winning b' i s k.
Proof. intros H. apply map_ext. intros t. rewrite (column_agree i b b' t H). reflexivity. Qed.
Lemma largest_same top f g : (forall k, f k = g k) -> largest top f = largest top g.
Proof. intros H. induction top as [|k IH]; simpl; [reflexivity|]. rewrite H, IH. reflexivity. Qed.
Theorem level_independent i b b' s : agree_but i b b' -> level b i s = level b' i s.
Proof.
  intros H. apply largest_same. intros k. unfold Auction.is_open.
  rewrite (winning_agree i b b' s k H), (losers_agree i b b' s k H). reflexivity.
Qed.
Theorem price_independent i b b' s : agree_but i b b' -> price b i s = price b' i s.
Proof.
  intros H. unfold Auction.price, price_at. rewrite (level_independent i b b' s H).
  destruct (level b' i s) as [|k]; [reflexivity|]. rewrite (column_agree i b b' s H),
    (losers_agree i b b' s _ H).
  reflexivity.
Qed.
Lemma rank_independent i b b' s a : agree_but i b b' -> rank b i s a = rank b' i s a.
Proof.
  intros H. unfold Auction.rank. f_equal. apply filter_ext_in. intros j Hj. apply in_others in Hj.
  unfold ahead. rewrite (H j s); [reflexivity|tauto].
Qed.

(* --- columns --- *)
Lemma column_ordered b cl t : ordered (column b cl t).
Proof. apply ordered_sort. Qed.
Lemma column_nonneg b cl t : bids_nonneg b -> nonneg (column b cl t).
Proof.
  intros H x Hx. unfold Auction.column in Hx. apply in_sort, in_app_or in Hx as [Hx|Hx];
    [exact (outside_nonneg t x Hx)|].
  unfold bids in Hx. apply in_flat_map in Hx as (j & _ & Hx).
    destruct (b j t) as [a|] eqn:E; [|destruct Hx].
  destruct Hx as [<-|[]]. exact (H j t a E).
Qed.
Definition own (b : profile) i t c : nat := match b i t with Some a => if Qle_bool a c then 1 else 0
  | None => 0 end.
Lemma bids_split b i t c l : NoDup l -> In i l ->
  cnt (bids b l t) c = (own b i t c + cnt (bids b (filter (fun j => negb (j =? i)%nat) l) t) c)%nat.
Proof.
  assert (A : forall j r, cnt (bids b (j :: r) t) c = (own b j t c + cnt (bids b r t) c)%nat).
  { intros j r. unfold bids, own. simpl. rewrite cnt_app. destruct (b j t) as [a|]; [|reflexivity].
    rewrite cnt_cons. unfold cnt at 1. simpl. lia. }
  induction l as [|j l IH]; intros Hn Hi; [destruct Hi|]. inversion Hn as [|? ? Hj Hl]; subst.
    rewrite A. simpl filter.
  destruct (Nat.eq_dec j i) as [->|Hne].
  - rewrite Nat.eqb_refl. simpl. f_equal. f_equal. f_equal. symmetry. clear -Hj.
    induction l as [|k l IH]; [reflexivity|].
    simpl. destruct (Nat.eq_dec k i) as [->|Hne]; [exfalso; apply Hj; left; reflexivity|].
    apply Nat.eqb_neq in Hne. rewrite Hne. simpl. f_equal. apply IH.
      intros C; apply Hj; right; exact C.
  - destruct Hi as [Hi|Hi]; [contradiction|]. rewrite (IH Hl Hi).
    pose proof Hne as Hne'. apply Nat.eqb_neq in Hne'. rewrite Hne'. cbn [negb]. rewrite A. lia.
Qed.
Lemma full_count b i t c : (i < N)%nat ->
  cnt (column b clients t) c = (own b i t c + cnt (column b (others i) t) c)%nat.
Proof.
  intros Hi. unfold Auction.column. rewrite !cnt_sort, !cnt_app.
    rewrite (bids_split b i t c clients).
  - unfold Auction.others. lia.
  - apply seq_NoDup.
  - unfold Auction.clients. apply in_seq. lia.
Qed.

(* --- what a win means --- *)
Lemma omin_below p o o' : omin o o' = Some p -> below p o /\ below p o'.
Proof. destruct o as [x|], o' as [y|]; simpl; intros [= <-]; split; try exact I; mm; lra. Qed.

Record won (b : profile) (i s k : nat) (p cap a : Q) : Prop := {
  won_level : k = level b i s; won_pos : (1 <= k)%nat;
  won_bid : b i s = Some a; won_ir : a <= p; won_rank : (rank b i s a < k)%nat;
  won_open : highest (winning b i s k) = Some cap; won_cap : nQ k * capped cap (losers b i s k) <=
    B;
  won_below : below p (kth (column b (others i) s) k); won_fits : nQ k * capped p (losers b i s k)
    <= B }.

Lemma outcome_won b i s p : outcome b i s = Some p -> exists cap a, won b i s (level b i s) p cap a.
Proof.
  unfold Auction.outcome, Auction.price. intros H. destruct (b i s) as [a|] eqn:Ea; [|discriminate].
  destruct (level b i s) as [|k] eqn:El; [discriminate|].
  destruct (price_at N T B outside b i s (S k)) as [q|] eqn:Ep; [|discriminate].
  destruct (Qle_bool a q && (rank b i s a <? S k)%nat) eqn:Ew; [|discriminate]. injection H as ->.
  apply andb_prop in Ew as [Hir Hr]. apply qle_true in Hir. apply Nat.ltb_lt in Hr.
  pose proof (largest_holds _ _ _ El) as Ho. unfold Auction.is_open in Ho.
  destruct (highest (winning b i s (S k))) as [cap|] eqn:Eh; [|discriminate]. apply qle_true in Ho.
  apply omin_below in Ep as [P1 P2]. exists cap, a. split; auto; [lia|].
  assert (R : 0 <= B / nQ (S k)) by (apply Qle_shift_div_l; [apply nQ_pos1; lia|lra]).
  apply (water_level_fits _ _ _ R) in P2. apply (mul_mono (S k)) in P2.
    rewrite share_mul in P2; [exact P2|lia].
Qed.

(* --- individual rationality; losers are not paid --- *)
Theorem individually_rational b i s p : outcome b i s = Some p -> exists a,
  b i s = Some a /\ a <= p.
Proof. intros H. apply outcome_won in H as (cap & a & W). exists a. split; apply W. Qed.
Theorem losers_unpaid b i s : wins b s i = false -> pay b s i = 0.
Proof. unfold Auction.wins, Auction.pay. destruct (outcome b i s); [discriminate|reflexivity]. Qed.

(* --- truthfulness --- *)
Lemma rank_count b i s a : (rank b i s a <= cnt (column b (others i) s) a)%nat.
Proof.
  unfold Auction.column. rewrite cnt_sort, cnt_app. apply Nat.le_trans with (cnt (bids b (others i)
    s) a); [|lia].
  unfold Auction.rank. generalize (others i) as l. induction l as [|j l IH]; [reflexivity|].
  unfold bids in *. simpl. unfold ahead at 1, before. destruct (b j s) as [x|]; simpl; [|exact IH].
  rewrite cnt_cons. qcase a x; qcase x a; simpl; try (destruct (j <? i)%nat); simpl; try lia; lra.
Qed.

Lemma task_truthful b b' i s : agree_but i b b' -> forall c, b i s = Some c ->
  ule (gain (outcome b' i s) (b i s)) (gain (outcome b i s) (b i s)) /\ ule (Some 0) (gain (outcome
    b i s) (b i s)).
Proof.
  intros H c Hc. assert (IR : ule (Some 0) (gain (outcome b i s) (b i s))).
  { destruct (outcome b i s) as [p|] eqn:E; simpl; [|lra].
    destruct (individually_rational b i s p E) as (a & Ea & Ha).
    rewrite Ea. simpl. lra. }
  split; [|exact IR]. destruct (outcome b' i s) as [p|] eqn:E'; [|exact IR].
  pose proof (outcome_won b' i s p E') as (cap & a & W). rewrite Hc in *.
  destruct (outcome b i s) as [q|] eqn:E; simpl.
  - unfold Auction.outcome in E, E'. rewrite (price_independent i b b' s H),
    (level_independent i b b' s H) in E.
    destruct (b i s); [|discriminate]. destruct (b' i s); [|discriminate].
      destruct (price b' i s) as [v|]; [|discriminate].
    destruct (_ && _) in E; [|discriminate]. destruct (_ && _) in E'; [|discriminate].
    injection E as <-. injection E' as <-. lra.
  - (* the truth loses at an offer of p: its cost is at least p *)
    unfold Auction.outcome in E, E'. rewrite (price_independent i b b' s H),
      (level_independent i b b' s H), Hc in E.
    destruct (b' i s) as [a'|]; [|discriminate]. destruct (price b' i s) as [v|]; [|discriminate].
    destruct (Qle_bool a' v && _) in E'; [|discriminate]. injection E' as ->.
    qcase c p; [|lra]. simpl in E. destruct (rank b i s c <? level b' i s)%nat eqn:Er;
      [discriminate|].
    apply Nat.ltb_ge in Er. pose proof (rank_count b i s c) as Rc.
      rewrite (column_agree i b b' s H) in Rc.
    destruct W as [_ Hk _ _ _ _ _ Hb _]. destruct (level b' i s) as [|k]; [lia|]. simpl in Hb.
    destruct (cnt_nth (column b' (others i) s) k c (column_ordered _ _ _) ltac:(lia)) as (v & Ev &
      Hv).
    rewrite Ev in Hb. simpl in Hb. lra.
Qed.
Lemma task_no_bid b i s : b i s = None -> outcome b i s = None.
Proof. intros H. unfold Auction.outcome. rewrite H. reflexivity. Qed.

Lemma ule_refl u : ule u u. Proof. destruct u; simpl; [lra|exact I]. Qed.
Lemma total_mono (f g : nat -> option Q) l : (forall s, In s l -> ule (f s) (g s)) -> ule (total
  (map f l)) (total (map g l)).
Proof.
  induction l as [|s l IH]; intros H; simpl; [lra|].
  assert (A := H s (or_introl eq_refl)). assert (C := IH (fun t Ht => H t (or_intror Ht))).
  destruct (f s), (g s), (total (map f l)), (total (map g l)); simpl in *; try exact I;
    try contradiction; lra.
Qed.

(* Whatever the others bid, and whatever row client i reports instead of its true costs b i (None =
  cannot do
   the task, a cost of plus infinity): its total utility over all tasks is at most that of the
     truth. *)
Theorem truthful b b' i : agree_but i b b' ->
  ule (utility N T B outside b' i (b i)) (utility N T B outside b i (b i)).
Proof.
  intros H. unfold utility. apply total_mono. intros s _. destruct (b i s) as [c|] eqn:Hc.
  - pose proof (task_truthful b b' i s H c Hc) as [A _]. rewrite Hc in A. exact A.
  - rewrite (task_no_bid b i s Hc). simpl. destruct (outcome b' i s); simpl; [exact I|lra].
Qed.
Theorem participation b i : ule (Some 0) (utility N T B outside b i (b i)).
Proof.
  unfold utility.
  assert (Z : forall l, exists q, total (map (fun _ : nat => Some 0) l) = Some q /\ 0 <= q).
  { induction l as [|s l (q & IH & Hq)]; simpl; [exists 0; split; [reflexivity|lra]|].
    rewrite IH. exists (0 + q). split; [reflexivity|lra]. }
  assert (M : ule (total (map (fun _ : nat => Some 0) tasks)) (total (map (fun s => gain (outcome b
    i s) (b i s)) tasks))).
  { apply total_mono. intros s _. destruct (outcome b i s) as [p|] eqn:E; simpl; [|lra].
    destruct (individually_rational b i s p E) as (a & Ea & Ha). rewrite Ea. simpl. lra. }
  destruct (Z tasks) as (q & E & Hq). rewrite E in M.
  destruct (total (map _ tasks)) in M |- *; simpl in *; [lra|exact M].
Qed.

(* --- budget --- *)
Notation full := (fun b t => column b clients t).
Notation next := (fun b K => map (fun t => kth (column b clients t) (S K)) tasks).
Definition affordable (b : profile) (K : nat) (c : Q) : Prop := nQ K * capped c (next b K) <= B.
Definition common (b : profile) (K : nat) (c : Q) : Prop :=
  0 <= c /\ affordable b K c /\ forall t, In t tasks -> (K <= cnt (column b clients t) c)%nat.

Lemma affordable_less b K c d : d <= c -> affordable b K c -> affordable b K d.
Proof.
  unfold affordable. intros H A. eapply Qle_trans; [|exact A].
    apply mul_mono, capped_mono; [|exact H].
  intros; apply obelow_refl.
Qed.
Lemma affordable_max b K c d : affordable b K c -> affordable b K d -> affordable b K (qmax c d).
Proof. intros H1 H2. destruct (qmax_spec c d) as [[_ ->]|[_ ->]]; assumption. Qed.

Section Budget.
Variable b : profile.
Hypothesis nonneg_b : bids_nonneg b.
Local Hint Resolve column_ordered column_nonneg : core.

Lemma in_tasks t : In t tasks <-> (t < T)%nat.
Proof. unfold Auction.tasks. rewrite in_seq. lia. Qed.
Lemma in_clients i : In i clients <-> (i < N)%nat.
Proof. unfold Auction.clients. rewrite in_seq. lia. Qed.

Lemma won_next i s k p cap a : (i < N)%nat -> won b i s k p cap a -> forall t,
  obelow (kth (column b clients t) (S k)) (kth (column b (others i) t) (if (t =? s)%nat then k else
    S k)).
Proof.
  intros Hi W t. apply obelow_counts; auto. intros c Hc Hk. rewrite (full_count b i t c Hi).
  destruct (Nat.eqb_spec t s) as [->|]; [|lia]. pose proof (counts_below _ k p c (column_ordered _ _
    _) Hc (won_below _ _ _ _ _ _ _ W) Hk).
  pose proof (won_ir _ _ _ _ _ _ _ W). unfold own. rewrite (won_bid _ _ _ _ _ _ _ W).
    qcase a c; [lia|lra].
Qed.
Lemma won_affordable i s k p cap a q : (i < N)%nat -> won b i s k p cap a ->
  nQ k * capped q (losers b i s k) <= B -> affordable b k q.
Proof.
  intros Hi W H. unfold affordable. eapply Qle_trans; [|exact H]. apply mul_mono.
    apply capped_mono; [|lra].
  intros t _. exact (won_next i s k p cap a Hi W t).
Qed.
Lemma won_common i s k p cap a : (i < N)%nat -> won b i s k p cap a -> common b k (qmax cap p).
Proof.
  intros Hi W. pose proof (highest_ge _ _ (won_open _ _ _ _ _ _ _ W)) as [Hcap Hw]. split; [|split].
  - mm; lra.
  - apply affordable_max; eapply won_affordable; try eassumption;
    [exact (won_cap _ _ _ _ _ _ _ W)|exact (won_fits _ _ _ _ _ _ _ W)].
  - intros t Ht. rewrite (full_count b i t _ Hi).
    destruct (Hw (kth (column b (others i) t) (if (t =? s)%nat then k - 1 else k)%nat)) as (v & Ev &
      Hv).
    { unfold Auction.winning. apply in_map_iff. exists t. split; [reflexivity|exact Ht]. }
    assert (C : ((if (t =? s)%nat then k - 1 else k) <= cnt (column b (others i) t) (qmax cap
      p))%nat).
    { apply kth_le; [auto|mm; lra|]. exists v. split; [exact Ev|mm; lra]. }
    destruct (Nat.eqb_spec t s) as [->|]; [|lia]. unfold own. rewrite (won_bid _ _ _ _ _ _ _ W).
    pose proof (won_ir _ _ _ _ _ _ _ W). qcase a (qmax cap p); [lia|]. mm; lra.
Qed.

(* one level and one cap for all winners *)
Lemma won_bounded i s k p cap a K M : (i < N)%nat -> In s tasks -> won b i s k p cap a -> common b K
  M -> (k <= K)%nat ->
  affordable b K (qmax M p) /\ below p (kth (column b clients s) (S K)).
Proof.
  intros Hi Hs W (HM & HA & HT) Hle. split.
  - apply affordable_max; [exact HA|]. destruct (Nat.eq_dec k K) as [<-|Hne].
    + eapply won_affordable; try eassumption. exact (won_fits _ _ _ _ _ _ _ W).
    + apply affordable_less with M; [|exact HA]. apply (counts_below (column b (others i) s) k);
      auto.
      * exact (won_below _ _ _ _ _ _ _ W).
      * specialize (HT s Hs). rewrite (full_count b i s M Hi) in HT. unfold own in HT.
        rewrite (won_bid _ _ _ _ _ _ _ W) in HT. destruct (Qle_bool a M); lia.
  - apply below_counts; auto. intros c Hc Hk. apply (counts_below (column b (others i) s) k); auto.
    + exact (won_below _ _ _ _ _ _ _ W).
    + rewrite (full_count b i s c Hi) in Hk. unfold own in Hk.
      rewrite (won_bid _ _ _ _ _ _ _ W) in Hk.
      destruct (Qle_bool a c); lia.
Qed.

Definition cells := flat_map (fun s => map (fun i => (i, s)) clients) tasks.
Lemma in_cells i s : In (i, s) cells <-> (i < N)%nat /\ In s tasks.
Proof.
  unfold cells. rewrite in_flat_map. split.
  - intros (t & Ht & H). apply in_map_iff in H as (j & [= <- <-] & Hj). apply in_clients in Hj.
    auto.
  - intros [Hi Hs]. exists s. split; [exact Hs|]. apply in_map_iff. exists i.
    split; [reflexivity|apply in_clients; exact Hi].
Qed.
Lemma top_level l : (forall i s, In (i, s) l -> (i < N)%nat /\ In s tasks) ->
  (forall i s, In (i, s) l -> outcome b i s = None) \/
  exists K M, common b K M /\ forall i s p, In (i, s) l -> outcome b i s = Some p -> (level b i s <=
    K)%nat.
Proof.
  induction l as [|(i, s) l IH]; intros H; [left; intros i s []|].
  destruct IH as [IH|(K & M & HC & IH)]; [intros; apply H; right; assumption| |];
    destruct (outcome b i s) as [p|] eqn:E;
    try (destruct (outcome_won b i s p E) as (cap & a & W);
      destruct (H i s (or_introl eq_refl)) as [Hi Hs];
         pose proof (won_common _ _ _ _ _ _ Hi W) as HC').
  - right. exists (level b i s), (qmax cap p). split; [exact HC'|].
    intros j t q [[= <- <-]|Hj] Eq; [lia|].
    rewrite (IH j t Hj) in Eq. discriminate.
  - left. intros j t [[= <- <-]|Hj]; [exact E|auto].
  - right. destruct (le_lt_dec (level b i s) K) as [L|L].
    + exists K, M. split; [exact HC|]. intros j t q [[= <- <-]|Hj] Eq; [exact L|eauto].
    + exists (level b i s), (qmax cap p). split; [exact HC'|].
      intros j t q [[= <- <-]|Hj] Eq; [lia|].
      specialize (IH j t q Hj Eq). lia.
  - right. exists K, M. split; [exact HC|]. intros j t q [[= <- <-]|Hj] Eq; [congruence|eauto].
Qed.
Lemma top_cap K M l : common b K M -> (forall i s, In (i, s) l -> (i < N)%nat /\ In s tasks) ->
  (forall i s p, In (i, s) l -> outcome b i s = Some p -> (level b i s <= K)%nat) ->
  exists C, M <= C /\ affordable b K C /\ forall i s p, In (i,
    s) l -> outcome b i s = Some p -> p <= C.
Proof.
  intros HC. induction l as [|(i, s) l IH]; intros H L.
  - exists M. split; [lra|]. split; [apply HC|]. intros i s p [].
  - destruct IH as (C & HMC & HA & IH); [intros; apply H; right; assumption|intros; eapply L;
    [right|]; eassumption|].
    destruct (outcome b i s) as [p|] eqn:E.
    + destruct (outcome_won b i s p E) as (cap & a & W). destruct (H i s (or_introl eq_refl)) as [Hi
      Hs].
      destruct (won_bounded _ _ _ _ _ _ K M Hi Hs W HC (L i s p (or_introl eq_refl) E)) as [A _].
      exists (qmax C p). split; [mm; lra|]. split.
      * apply affordable_max; [exact HA|]. apply affordable_less with (qmax M p); [mm; lra|exact A].
      * intros j t q [[= <- <-]|Hj] Eq; [rewrite E in Eq; injection Eq as <-; mm; lra|].
        specialize (IH j t q Hj Eq). mm; lra.
    + exists C. split; [exact HMC|]. split; [exact HA|]. intros j t q [[= <- <-]|Hj] Eq;
      [congruence|eauto].
Qed.

(* at most K winners per task: the last of them in the order has all the others ahead of it *)
Lemma ahead_total s j i x a : b j s = Some x -> b i s = Some a -> i <> j -> ahead b s j a i = true
  \/ ahead b s i x j = true.
Proof.
  intros Hj Hi Hne. unfold ahead, before. rewrite Hj, Hi.
  qcase a x; qcase x a; simpl; auto.
  destruct (Nat.lt_total i j) as [L|[L|L]]; [right|lia|left]; apply Nat.ltb_lt in L; exact L.
Qed.
Lemma ahead_trans s j i k x a c : b j s = Some x -> b i s = Some a -> ahead b s j a i = true ->
  ahead b s i c k = true ->
  ahead b s j c k = true.
Proof.
  intros Hj Hi. unfold ahead, before. rewrite Hj, Hi. intros H1 H2.
  qcase a x; qcase c a; qcase c x; try reflexivity; try lra; simpl in *.
  all: try (qcase x a; [|discriminate]); try (qcase a c; [|discriminate]); simpl in *.
  all: try (apply Nat.ltb_lt in H1); try (apply Nat.ltb_lt in H2).
  all: try (qcase x c; [|lra]); simpl; try (apply Nat.ltb_lt; lia); try lra.
Qed.
Lemma last_winner s l : NoDup l -> (forall i, In i l -> b i s <> None) -> l <> [] ->
  exists m a, In m l /\ b m s = Some a /\ forall j, In j l -> j <> m -> ahead b s j a m = true.
Proof.
  induction l as [|i l IH]; intros Hn Hb Hne; [contradiction|]. inversion Hn; subst.
  destruct (b i s) as [a|] eqn:Ea; [|exfalso; apply (Hb i (or_introl eq_refl)); exact Ea].
  destruct l as [|i' l].
  - exists i, a. split; [left; reflexivity|]. split; [exact Ea|]. intros j [<-|[]]; contradiction.
  - destruct IH as (m & c & Hm & Ec & Hl); [assumption|intros; apply Hb; right;
    assumption|discriminate|].
    assert (i <> m) by (intros ->; contradiction).
    destruct (ahead_total s i m a c Ea Ec ltac:(congruence)) as [A|A].
    + exists m, c. split; [right; exact Hm|]. split; [exact Ec|].
      intros j [<-|Hj] Hjm; [exact A|auto].
    + exists i, a. split; [left; reflexivity|]. split; [exact Ea|].
      intros j [<-|Hj] Hji; [contradiction|].
      destruct (Nat.eq_dec j m) as [->|Hjm]; [exact A|].
      destruct (b j s) as [x|] eqn:Ex; [|exfalso; apply (Hb j (or_intror Hj)); exact Ex].
      eapply ahead_trans; [exact Ex|exact Ec|auto|exact A].
Qed.
Lemma few K s : (forall i, (i < N)%nat -> wins b s i = true -> (level b i s <= K)%nat) ->
  (length (filter (wins b s) clients) <= K)%nat.
Proof.
  intros H. set (W := filter (wins b s) clients). destruct (list_eq_dec Nat.eq_dec W []) as
    [->|Hne]; [simpl; lia|].
  assert (Hn : NoDup W) by (apply NoDup_filter, seq_NoDup).
  assert (HW : forall i, In i W -> (i < N)%nat /\ wins b s i = true).
  { intros i Hi. apply filter_In in Hi as [Hi Hw]. apply in_clients in Hi. auto. }
  destruct (last_winner s W Hn) as (m & a & Hm & Ea & Hl); [|exact Hne|].
  - intros i Hi E. destruct (HW i Hi) as [_ Hw]. unfold Auction.wins in Hw.
    rewrite (task_no_bid b i s E) in Hw. discriminate.
  - destruct (HW m Hm) as [Hmn Hmw]. specialize (H m Hmn Hmw). unfold Auction.wins in Hmw.
    destruct (outcome b m s) as [p|] eqn:E; [|discriminate].
      destruct (outcome_won b m s p E) as (cap & a' & [_ _ Ea' _ Hr _ _ _ _]).
    assert (a' = a) by congruence. subst a'. apply in_split in Hm as (l1 & l2 & EW).
    assert (Hn' : NoDup (l1 ++ l2)) by (rewrite EW in Hn; eapply NoDup_remove_1; exact Hn).
    assert (Hm' : ~ In m (l1 ++ l2)) by (rewrite EW in Hn; eapply NoDup_remove_2; exact Hn).
    assert (L : (length (l1 ++ l2) <= rank b m s a)%nat).
    { unfold Auction.rank. apply NoDup_incl_length; [exact Hn'|]. intros j Hj.
      assert (Hjm : j <> m) by (intros ->; contradiction).
      assert (HjW : In j W). { rewrite EW. apply in_app_or in Hj. apply in_or_app. simpl.
        intuition. }
      apply filter_In. split; [apply in_others; split; [apply HW; exact HjW|exact Hjm]|apply Hl;
        assumption]. }
    rewrite EW. rewrite app_length in *. simpl. lia.
Qed.

Lemma sum_pay s l m : (forall i, In i l -> wins b s i = true -> pay b s i <= m) ->
  sumQ (map (pay b s) l) <= nQ (length (filter (wins b s) l)) * m.
Proof.
  induction l as [|i l IH]; intros H; simpl; [rewrite nQ_0; lra|].
  assert (C := IH (fun j Hj => H j (or_intror Hj))). destruct (wins b s i) eqn:E.
  - simpl. rewrite nQ_S. pose proof (H i (or_introl eq_refl) E). lra.
  - rewrite (losers_unpaid b i s E). lra.
Qed.
Lemma sum_le {A} (f g : A -> Q) l : (forall x, In x l -> f x <= g x) -> sumQ (map f l) <= sumQ (map
  g l).
Proof.
  induction l as [|x l IH]; intros H; simpl; [lra|]. assert (A1 := H x (or_introl eq_refl)).
  assert (A2 := IH (fun y Hy => H y (or_intror Hy))). lra.
Qed.
Lemma sum_scale {A} k (f : A -> Q) l : sumQ (map (fun x => k * f x) l) == k * sumQ (map f l).
Proof. induction l as [|x l IH]; simpl; [lra|]. rewrite IH. lra. Qed.

Theorem within_budget : spend b <= B.
Proof.
  unfold Auction.spend. destruct (top_level cells) as [H|(K & M & HC & HL)]; [intros i s H;
    apply in_cells; exact H| |].
  - assert (Z : sumQ (map (fun s => sumQ (map (pay b s) clients)) tasks) <= sumQ (map (fun _ => 0 *
    0) tasks)).
    { apply sum_le. intros s Hs. eapply Qle_trans; [apply (sum_pay s clients 0)|].
      - intros i Hi Hw. unfold Auction.wins in Hw. rewrite (H i s) in Hw; [discriminate|].
        apply in_cells. apply in_clients in Hi. auto.
      - lra. }
    rewrite sum_scale in Z. lra.
  - destruct (top_cap K M cells HC) as (C & HMC & HA & HP); [intros i s H; apply in_cells;
    exact H|exact HL|].
    eapply Qle_trans; [|exact HA]. unfold capped. rewrite map_map, <- sum_scale. apply sum_le.
      intros s Hs.
    set (m := mn (kth (column b clients s) (S K)) C).
    assert (HC0 : 0 <= C) by (destruct HC as [HM _]; lra).
    assert (Hm : 0 <= m).
    { unfold m, mn. destruct (kth _ (S K)) as [v|] eqn:E; [|exact HC0].
      apply kth_nonneg in E; [|auto]. mm; lra. }
    eapply Qle_trans; [apply (sum_pay s clients m)|].
    + intros i Hi Hw. unfold Auction.wins, Auction.pay in *.
      destruct (outcome b i s) as [p|] eqn:E; [|discriminate].
      apply in_clients in Hi. assert (Hc : In (i, s) cells) by (apply in_cells; auto).
      pose proof (HP i s p Hc E) as P. destruct (outcome_won b i s p E) as (cap & a & W).
      destruct (won_bounded _ _ _ _ _ _ K M Hi Hs W HC (HL i s p Hc E)) as [_ Bl].
      unfold m, mn. destruct (kth (column b clients s) (S K)); simpl in *; [mm; lra|exact P].
    + apply mul_mono_l; [|exact Hm]. apply few. intros i Hi Hw. unfold Auction.wins in Hw.
      destruct (outcome b i s) as [p|] eqn:E; [|discriminate].
        apply (HL i s p); [apply in_cells; auto|exact E].
Qed.
End Budget.

(* --- openness falls with the level; bisection finds the largest;
  the price there is the largest --- *)
Section Levels.
Variable b : profile.
Hypothesis nonneg_b : bids_nonneg b.
Local Hint Resolve column_ordered column_nonneg : core.

Lemma capped_nonneg c (f : nat -> option Q) ts : 0 <= c -> (forall t v,
  f t = Some v -> 0 <= v) -> 0 <= capped c (map f ts).
Proof.
  intros Hc Hf. unfold capped. induction ts as [|t ts IH]; simpl; [lra|].
  assert (0 <= mn (f t) c) by (unfold mn; destruct (f t) as [v|] eqn:E; [specialize (Hf t v E); mm;
    lra|lra]). lra.
Qed.
Lemma capped_missing c l : 0 <= c -> (forall v, In (Some v) l -> 0 <= v) -> In None l -> c <= capped
  c l.
Proof.
  intros Hc. unfold capped. induction l as [|o l IH]; intros Hv Hn; simpl; [destruct Hn|].
  assert (P : forall l, (forall v, In (Some v) l -> 0 <= v) -> 0 <= sumQ (map (fun o => mn o c) l)).
  { clear -Hc. induction l as [|o l IH]; intros H; simpl; [lra|].
    assert (I1 := IH (fun v Hv => H v (or_intror Hv))).
    assert (0 <= mn o c) by (unfold mn; destruct o as [v|]; [specialize (H v (or_introl eq_refl));
      mm; lra|lra]). lra. }
  destruct Hn as [->|Hn].
  - assert (Z := P l (fun v H => Hv v (or_intror H))). simpl. lra.
  - assert (Z := IH (fun v H => Hv v (or_intror H)) Hn).
    assert (0 <= mn o c) by (unfold mn; destruct o as [v|]; [specialize (Hv v (or_introl eq_refl));
      mm; lra|lra]). lra.
Qed.
Theorem open_monotone i s k : (1 <= k)%nat -> is_open b i s (S k) = true -> is_open b i s k = true.
Proof.
  intros Hk. unfold Auction.is_open. destruct (highest (winning b i s (S k))) as [cap'|] eqn:E';
    [|discriminate].
  intros F. apply qle_true in F. destruct (highest_ge _ _ E') as [Hc' Hw].
  destruct (highest_le (winning b i s k) cap' Hc') as (cap & E & Hle).
  - intros o Ho. apply in_map_iff in Ho as (t & <- & Ht).
    destruct (Hw (kth (column b (others i) t) (if (t =? s)%nat then S k - 1 else S k)%nat)) as (v &
      Ev & Hv).
    { apply in_map_iff. exists t; auto. }
    apply kth_le; [auto..|]. assert (C : ((if (t =? s)%nat then S k - 1 else S k) <= cnt (column b
      (others i) t) cap')%nat).
    { apply kth_le; [auto..|]. exists v; auto. }
    destruct (t =? s)%nat; lia.
  - rewrite E. apply qle_true. destruct (highest_ge _ _ E) as [Hc _]. eapply Qle_trans; [|exact F].
    apply Qle_trans with (nQ k * capped cap' (losers b i s (S k))).
    + apply mul_mono. apply capped_mono; [|exact Hle]. intros t _. apply obelow_counts; auto.
      intros c _ H. destruct (t =? s)%nat; lia.
    + apply mul_mono_l; [lia|]. apply capped_nonneg; [exact Hc'|]. intros t v Ev.
      eapply kth_nonneg; [|exact Ev]. auto.
Qed.

Lemma price_found i s : In s tasks -> (1 <= level b i s)%nat -> exists p, price b i s = Some p.
Proof.
  intros Hs Hk. unfold Auction.price, price_at. destruct (level b i s) as [|k]; [lia|].
  destruct (kth (column b (others i) s) (S k)) as [x|] eqn:E.
  - destruct (water_level _ _); simpl; eexists; reflexivity.
  - destruct (water_level (losers b i s (S k)) (B / nQ (S k))) as [w|] eqn:Ew; [eexists;
    reflexivity|exfalso].
    set (r := B / nQ (S k)) in *. assert (R : 0 <= r) by (apply Qle_shift_div_l; [apply nQ_pos1;
      lia|lra]).
    pose proof (water_level_fits (losers b i s (S k)) r (r + 1) R) as W. rewrite Ew in W.
      specialize (W I).
    assert (G : r + 1 <= capped (r + 1) (losers b i s (S k))).
    { apply capped_missing; [lra| |].
      - intros v Hv. apply in_map_iff in Hv as (t & Ev & _). eapply kth_nonneg; [|exact Ev]. auto.
      - apply in_map_iff. exists s. rewrite Nat.eqb_refl. auto. }
    lra.
Qed.

Theorem price_is_the_best i s k q : In s tasks -> (1 <= k <= N)%nat -> is_open b i s k = true ->
  price_at N T B outside b i s k = Some q -> exists p, price b i s = Some p /\ q <= p.
Proof.
  intros Hs Hk Ho Hq. assert (HL : (k <= level b i s)%nat) by (apply largest_ge; assumption).
  destruct (price_found i s Hs ltac:(lia)) as (p & Hp). exists p. split; [exact Hp|].
  unfold Auction.price in Hp. destruct (level b i s) as [|L] eqn:El; [lia|].
  destruct (Nat.eq_dec k (S L)) as [->|Hne]; [rewrite Hq in Hp; injection Hp as ->; lra|].
  pose proof (largest_holds _ _ _ El) as HoL. unfold Auction.is_open in HoL.
  destruct (highest (winning b i s (S L))) as [cap|] eqn:Eh; [|discriminate]. apply qle_true in HoL.
  destruct (highest_ge _ _ Eh) as [Hcap Hw]. destruct (Hw (kth (column b (others i) s) L)) as (v &
    Ev & Hv).
  { apply in_map_iff. exists s. rewrite Nat.eqb_refl. replace (S L - 1)%nat with L by lia. auto. }
  apply omin_below in Hq as [Hq _].
  assert (Q1 : q <= cap).
  { apply (counts_below (column b (others i) s) k); auto.
    assert (L <= cnt (column b (others i) s) cap)%nat; [|lia].
    apply kth_le; [auto..|]. exists v; auto. }
  assert (Q2 : below q (kth (column b (others i) s) (S L))).
  { apply below_counts; auto. intros c Hc H. apply (counts_below (column b (others i) s) k); auto.
    lia. }
  assert (Q3 : below cap (water_level (losers b i s (S L)) (B / nQ (S L)))).
  { apply water_level_largest. apply Qle_shift_div_l; [apply nQ_pos1; lia|]. rewrite Qmult_comm.
    exact HoL. }
  unfold price_at in Hp. destruct (kth (column b (others i) s) (S L)) as [x|],
    (water_level _ _) as [w|]; simpl in *;
    try discriminate; injection Hp as <-; mm; lra.
Qed.
End Levels.
End Facts.

(* what the code runs: bisection between 0 and N *)
Fixpoint bisect (fuel low high : nat) (f : nat -> bool) : nat :=
  match fuel with
  | O => low
  | S g => if (high <=? low)%nat then low
           else let mid := ((low + high + 1) / 2)%nat in if f mid then bisect g mid high f else
            bisect g low (mid - 1) f
  end.
Lemma down_closed f : (forall k, (1 <= k)%nat -> f (S k) = true -> f k = true) ->
  forall j k, (1 <= j <= k)%nat -> f k = true -> f j = true.
Proof.
  intros H j k [Hj Hjk]. induction Hjk as [|k Hjk IH]; [auto|]. intros Hf.
    apply IH, H; [lia|exact Hf].
Qed.
Theorem bisection_is_largest top f : (forall k, (1 <= k)%nat -> f (S k) = true -> f k = true) ->
  bisect top 0 top f = largest top f.
Proof.
  intros H. assert (G : forall fuel low high, (high - low <= fuel)%nat -> (low <= largest top f <=
    high)%nat -> (high <= top)%nat ->
    bisect fuel low high f = largest top f).
  { induction fuel as [|fuel IH]; intros low high Hf Hl Ht; cbn [bisect]; [lia|].
    destruct (Nat.leb_spec high low); [lia|].
    cbv zeta. set (mid := ((low + high + 1) / 2)%nat).
    assert (M : (low < mid <= high)%nat).
    { unfold mid. pose proof (Nat.div_mod (low + high + 1) 2 ltac:(lia)).
      pose proof (Nat.mod_upper_bound (low + high + 1) 2 ltac:(lia)). lia. }
    destruct (f mid) eqn:E.
    - apply IH; [lia| |lia]. split; [|lia]. apply largest_ge; [lia|exact E].
    - apply IH; [lia| |lia]. split; [lia|]. assert (largest top f < mid)%nat; [|lia].
      apply Nat.nle_gt. intros C. destruct (largest top f) as [|L] eqn:EL; [lia|].
      pose proof (largest_holds top f L EL) as Hh. rewrite (down_closed f H mid (S L)) in E;
        [discriminate|lia|exact Hh]. }
  apply G; [lia| |lia]. split; [lia|apply largest_le].
Qed.
Corollary level_by_bisection N T B outside b i s : (forall t,
  nonneg (outside t)) -> bids_nonneg b -> 
  bisect N 0 N (is_open N T B outside b i s) = level N T B outside b i s.
Proof. intros Ho Hb. apply bisection_is_largest. intros k. apply open_monotone; assumption. Qed.
