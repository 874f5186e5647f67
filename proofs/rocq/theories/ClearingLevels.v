(* Max-min recruitment with clearing levels (rule CLW), for clients that do at most one task:
   DEFINED from the table of bids. Truthful and individually rational, for every number of clients and tasks
   and all rational bids, whatever functions of the others' bids give a client's level and cap.

   That the payments of CLW stay within the budget, and how many clients every task recruits, is
   proved on paper only; Assignment.v and SpendBound.v have the parts that are checked here. *)
From Coq Require Import QArith Lqa Lia List Arith Bool ZArith.
Require Import Auction Assignment Menu.
Import ListNotations.
Open Scope Q_scope.

(* ------------------------------------------------------------------ 1. cost with outsiders *)
(* money alone *)
Definition money (o : option (Q * Q)) : option Q :=
  match o with Some a => Some (fst a) | None => None end.
(* every way of leaving some of the places to outsiders: how many, and the quotas that remain *)
Fixpoint left_over (ts : list nat) (q : nat -> nat) : list (nat * (nat -> nat)) :=
  match ts with
  | [] => [(0%nat, q)]
  | s :: rest =>
      flat_map (fun v => map (fun jq => ((v + fst jq)%nat,
          fun t => if (t =? s)%nat then (snd jq t - v)%nat else snd jq t)) (left_over rest q))
        (seq 0 (S (q s)))
  end.
(* the cost of the quotas as a function of the outsiders' price: the least of lines D + j price *)
Notation line := (nat * Q)%type.
Notation costs := ((nat -> nat) -> option (Q * Q)).
Fixpoint keep (l : line) (ls : list line) : list line :=
  match ls with
  | [] => [l]
  | m :: rest => if (fst l =? fst m)%nat then (if Qle_bool (snd l) (snd m) then l :: rest else ls)
                 else m :: keep l rest
  end.
Definition lines (T : nat) (C : costs) (q : nat -> nat) : list line :=
  fold_right keep [] (flat_map (fun jq => match money (C (snd jq)) with
                      | Some d => [(fst jq, Qred d)] | None => [] end) (left_over (tasks T) q)).
Fixpoint lowest (ls : list line) (lam : Q) : Q :=
  match ls with
  | [] => 0
  | [(j, d)] => d + nQ j * lam
  | (j, d) :: rest => qmin (d + nQ j * lam) (lowest rest lam)
  end.

(* ------------------------------------------------------------------ 2. the spend bound *)
Definition descending (l : list Q) : list Q := map Qopp (sort (map Qopp l)).
Fixpoint gains (n : nat) (mus ps : list Q) : Q :=
  match n, mus, ps with
  | S m, mu :: mus', p :: ps' => qmax 0 (mu - p) + gains m mus' ps'
  | _, _, _ => 0
  end.
(* k times the prices, and what unequal counts can cost beyond: places move from the cheapest tasks
   to the dearest *)
Definition bound (slack : bool) (T k : nat) (ps mus : list Q) : Q :=
  nQ k * sumQ ps +
  if slack then gains (T * (T / 2)) (descending (flat_map (fun m => repeat m (T - 1)) mus))
                  (sort (flat_map (fun p => repeat p (Nat.min k T)) ps))
  else 0.

Section Rule.
Variables (N T : nat) (B : Q) (slack : bool).

(* ------------------------------------------------------------------ 3. the rule *)
Definition cell (b : profile) (i s : nat) : option (Q * Q) :=
  match b i s with
  | Some a => Some (a, inject_Z (2 ^ Z.of_nat (i * T + s)))
  | None => None
  end.
Definition own_row (b : profile) (i : nat) : list (option (Q * Q)) := map (cell b i) (tasks T).
Definition rows_of_others (b : profile) (i : nat) : list (list (option (Q * Q))) :=
  map (own_row b) (others N i).

(* what the others cost at given quotas, from here on *)
Definition costs_of_others (rows : list (list (option (Q * Q)))) : costs :=
  tabulated T (S (N / T)) rows.
(* at level k less one place of task s *)
Definition short (C : costs) k s := C (fewer (level_quota k) s).

(* marginal prices and lower marginals at level k, at an outsiders' price *)
Definition prices_and_marginals (C : costs) k : Q -> list Q * list Q :=
  let here := lines T C (level_quota k) in
  let above := map (fun s => lines T C (more (level_quota k) s)) (tasks T) in
  let under := map (fun s => lines T C (fewer (level_quota k) s)) (tasks T) in
  fun lam => let c := lowest here lam in
    (map (fun ls => Qred (lowest ls lam - c)) above,
     map (fun ls => Qred (c - lowest ls lam)) under).
Definition spend_at k (at_price : Q -> list Q * list Q) (lam : Q) : Q :=
  let pm := at_price lam in bound slack T k (fst pm) (snd pm).

(* with no outsiders at all *)
Fixpoint all_some (l : list (option Q)) : option (list Q) :=
  match l with
  | [] => Some []
  | Some a :: r => match all_some r with Some m => Some (a :: m) | None => None end
  | None :: _ => None
  end.
Definition uncapped_fits (C : costs) k : bool :=
  match money (C (level_quota k)),
        all_some (map (fun s => money (C (more (level_quota k) s))) (tasks T)),
        all_some (map (fun s => money (short C k s)) (tasks T)) with
  | Some c, Some above, Some under =>
      Qle_bool (bound slack T k (map (fun a => a - c) above) (map (fun a => c - a) under)) B
  | _, _, _ => false
  end.

Fixpoint distinct (l : list Q) : list Q :=
  match l with
  | x :: (y :: _) as rest => if Qeq_bool x y then distinct rest else x :: distinct rest
  | _ => l
  end.
(* prices at which the lowest of the lines of one cost changes *)
Definition crossings (ls : list line) : list Q :=
  flat_map (fun l => flat_map (fun m => if (fst l <? fst m)%nat
    then let x := Qred ((snd l - snd m) / nQ (fst m - fst l)) in
         if Qle_bool (snd l + nQ (fst l) * x) (lowest ls x) then [x] else []
    else []) ls) ls.
Definition breakpoints (C : costs) k : list Q :=
  let qs := level_quota k :: map (more (level_quota k)) (tasks T) ++
            map (fewer (level_quota k)) (tasks T) in
  let found := filter (Qle_bool 0) (flat_map (fun q => crossings (lines T C q)) qs) in
  distinct (sort (0 :: found ++ [1 + qmax 0 B + fold_right qmax 0 found])).
(* where x0 + t (x1 - x0) reaches a value, when it goes from f0 to f1 *)
Definition between x0 x1 f0 f1 value : list Q :=
  if Qeq_bool f0 f1 then [] else
    let x := Qred (x0 + (value - f0) / (f1 - f0) * (x1 - x0)) in
    if Qle_bool x0 x && Qle_bool x x1 then [x] else [].
Fixpoint pairs {A} (l : list A) : list (A * A) :=
  match l with [] => [] | x :: r => map (fun y => (x, y)) r ++ pairs r end.
(* between two breakpoints prices and marginals are straight; the spend is straight between the
   prices at which two of them are equal *)
Definition kinks (at_price : Q -> list Q * list Q) x0 x1 : list Q :=
  let v0 := let pm := at_price x0 in fst pm ++ snd pm in
  let v1 := let pm := at_price x1 in fst pm ++ snd pm in
  distinct (sort (x0 :: x1 :: flat_map (fun ab => between x0 x1
    (fst (fst ab) - fst (snd ab)) (snd (fst ab) - snd (snd ab)) 0) (pairs (combine v0 v1)))).
Fixpoint crossing_of (f : Q -> Q) (xs : list Q) : list Q :=
  match xs with
  | x0 :: (x1 :: _) as rest =>
      if Qle_bool (f x0) B && negb (Qle_bool (f x1) B)
      then x0 :: between x0 x1 (f x0) (f x1) B else crossing_of f rest
  | _ => []
  end.
Fixpoint first_crossing (at_price : Q -> list Q * list Q) (f : Q -> Q) (xs : list Q) : list Q :=
  match xs with
  | x0 :: (x1 :: _) as rest =>
      if Qle_bool (f x0) B && negb (Qle_bool (f x1) B)
      then crossing_of f (kinks at_price x0 x1) else first_crossing at_price f rest
  | _ => []
  end.
(* the largest price of outsiders at which the spend bound is within the budget; None = no limit *)
Definition cap (C : costs) k : option Q :=
  if uncapped_fits C k then None
  else let at_price := prices_and_marginals C k in
       let f := spend_at k at_price in
       let found := first_crossing at_price f (breakpoints C k) in
       Some (fold_right qmax 0 (filter (fun lam => Qle_bool (f lam) B) found)).

(* the others can fill the quotas, and do so without outsiders at the cap *)
Definition without_outsiders (C : costs) q (lam : option Q) : bool :=
  match money (C q) with
  | None => false
  | Some c => match lam with None => true | Some x => Qle_bool c (lowest (lines T C q) x) end
  end.
Definition open_level (C : costs) k : bool :=
  if forallb (fun s => match short C k s with Some _ => true | None => false end) (tasks T)
  then let lam := cap C k in
       forallb (fun s => without_outsiders C (fewer (level_quota k) s) lam) (tasks T)
  else false.
Definition clearing_level (C : costs) : nat := largest (N / T) (open_level C).

(* what the places of level k cost the others, with outsiders at the cap if they are used *)
Inductive worth := Nothing | With_outsiders (v : Q) | Without (a : Q * Q).
Definition worth_of (C : costs) k (lam : option Q) : worth :=
  match C (level_quota k), lam with
  | Some a, None => Without a
  | Some a, Some x => let v := lowest (lines T C (level_quota k)) x in
                      if Qle_bool (fst a) v then Without a else With_outsiders v
  | None, Some x => With_outsiders (lowest (lines T C (level_quota k)) x)
  | None, None => Nothing
  end.
Definition value_of (w : worth) : Q :=
  match w with Nothing => 0 | With_outsiders v => v | Without a => fst a end.

Definition menu_at (C : costs) k (lam : option Q) : list (nat * Q) :=
  let w := worth_of C k lam in
  match w with
  | Nothing => []
  | _ => flat_map (fun s => match money (short C k s) with
                            | Some c => [(s, value_of w - c)] | None => [] end) (tasks T)
  end.
(* the task for which the client's own cost and the others' for the rest are least *)
Fixpoint cheapest (own : list (option (Q * Q))) (C : costs) k (ts : list nat)
    : option (nat * (Q * Q)) :=
  match ts with
  | [] => None
  | s :: rest =>
      match plus (ask own s) (short C k s), cheapest own C k rest with
      | Some a, Some (t, c) => if leqb a c then Some (s, a) else Some (t, c)
      | Some a, None => Some (s, a)
      | None, found => found
      end
  end.
Definition accepts (w : worth) (a : Q * Q) : bool :=
  match w with
  | Nothing => false
  | With_outsiders v => Qle_bool (fst a) v
  | Without c => negb (leqb c a)
  end.
Definition served (own : list (option (Q * Q))) (C : costs) k (lam : option Q) : option (nat * Q) :=
  let w := worth_of C k lam in
  match cheapest own C k (tasks T) with
  | Some (s, a) => if accepts w a then
                     match money (short C k s) with
                     | Some c => Some (s, value_of w - c) | None => None end
                   else None
  | None => None
  end.

(* Any level and cap that are functions of the others' bids: their rows, and what they cost. *)
Notation plan := (nat -> list (list (option (Q * Q))) -> costs -> nat * option Q).
Definition served_by (choose : plan) (b : profile) (i : nat) : option (nat * Q) :=
  let rows := rows_of_others b i in
  let C := costs_of_others rows in
  match choose i rows C with
  | (O, _) => None
  | (k, lam) => served (own_row b i) C k lam
  end.
Definition menu_by (choose : plan) (b : profile) (i : nat) : list (nat * Q) :=
  let rows := rows_of_others b i in
  let C := costs_of_others rows in
  match choose i rows C with
  | (O, _) => []
  | (k, lam) => menu_at C k lam
  end.
(* CLW: the largest open level, at its cap *)
Definition clearing (_ : nat) (_ : list (list (option (Q * Q)))) (C : costs) : nat * option Q :=
  let k := clearing_level C in (k, cap C k).
Definition clw : profile -> nat -> option (nat * Q) := served_by clearing.
Definition clw_pay (b : profile) (s i : nat) : Q :=
  match clw b i with Some (t, p) => if (t =? s)%nat then p else 0 | None => 0 end.
Definition clw_spend (b : profile) : Q :=
  sumQ (map (fun s => sumQ (map (clw_pay b s) (clients N))) (tasks T)).
End Rule.


(* ------------------------------------------------------------------ 4. the best item of a menu *)
Section Facts.
Variables (N T : nat).

Lemma rows_agree b b' i : agree_but i b b' ->
  rows_of_others N T b i = rows_of_others N T b' i.
Proof.
  intros H. unfold rows_of_others. apply map_ext_in. intros j Hj. apply in_others in Hj as [_ Hj].
  unfold own_row. apply map_ext. intros s. unfold cell. rewrite (H j s Hj). reflexivity.
Qed.
Lemma ask_own b i s : (s < T)%nat -> ask (own_row T b i) s = cell T b i s.
Proof.
  intros H. unfold ask, own_row, tasks. rewrite (nth_indep _ None (cell T b i 0%nat)).
  - rewrite map_nth. f_equal. rewrite seq_nth; lia.
  - rewrite map_length, seq_length. exact H.
Qed.
Lemma cheapest_some own C k ts s a : cheapest own C k ts = Some (s, a) ->
  In s ts /\ plus (ask own s) (short C k s) = Some a /\
  forall t, In t ts -> below_or_equal (Some a) (plus (ask own t) (short C k t)).
Proof.
  revert s a. induction ts as [|u ts IH]; intros s a E; simpl in E; [discriminate|].
  destruct (plus (ask own u) (short C k u)) as [x|] eqn:Eu.
  - destruct (cheapest own C k ts) as [(t, c)|] eqn:Ec.
    + destruct (IH t c eq_refl) as (Ht & Et & M). destruct (leqb x c) eqn:L; injection E as <- <-.
      * apply leqb_true in L. split; [left; reflexivity|]. split; [exact Eu|].
        intros v [<-|Hv]; [rewrite Eu; apply leq_refl|].
        eapply below_trans; [|apply M; exact Hv]. exact L.
      * apply leqb_false in L. split; [right; exact Ht|]. split; [exact Et|].
        intros v [<-|Hv]; [rewrite Eu; exact L|apply M; exact Hv].
    + injection E as <- <-. split; [left; reflexivity|]. split; [exact Eu|].
      intros v [<-|Hv]; [rewrite Eu; apply leq_refl|].
      assert (Nn : plus (ask own v) (short C k v) = None).
      { clear - Ec Hv. induction ts as [|w ts IH]; [destruct Hv|]. simpl in Ec.
        destruct (plus (ask own w) (short C k w)) eqn:Ew.
        - destruct (cheapest own C k ts) as [(t, c)|]; [destruct (leqb _ _)|]; discriminate.
        - destruct Hv as [<-|Hv]; [exact Ew|exact (IH Ec Hv)]. }
      rewrite Nn. exact I.
  - destruct (IH s a E) as (Hs & Es & M). split; [right; exact Hs|]. split; [exact Es|].
    intros v [<-|Hv]; [rewrite Eu; exact I|apply M; exact Hv].
Qed.
Lemma cheapest_none own C k ts t : cheapest own C k ts = None -> In t ts ->
  plus (ask own t) (short C k t) = None.
Proof.
  induction ts as [|w ts IH]; [intros _ []|]. simpl.
  destruct (plus (ask own w) (short C k w)) eqn:Ew.
  - destruct (cheapest own C k ts) as [(u, c)|]; [destruct (leqb _ _)|]; discriminate.
  - intros Ec [<-|Hv]; [exact Ew|exact (IH Ec Hv)].
Qed.
Lemma in_menu C k lam s p : In (s, p) (menu_at T C k lam) <->
  (s < T)%nat /\ worth_of T C k lam <> Nothing /\
  exists a, short C k s = Some a /\ p = value_of (worth_of T C k lam) - fst a.
Proof.
  unfold menu_at.
  assert (G : forall v, In (s, p) (flat_map (fun u => match money (short C k u) with
      | Some c => [(u, v - c)] | None => [] end) (tasks T)) <->
    (s < T)%nat /\ exists a, short C k s = Some a /\ p = v - fst a).
  { intros v. rewrite in_flat_map. split.
    - intros (u & Hu & H). apply in_range in Hu. unfold money in H.
      destruct (short C k u) as [a|] eqn:E; simpl in H; [|destruct H].
      destruct H as [[= <- <-]|[]]. split; [exact Hu|]. exists a. auto.
    - intros (Hs & a & E & ->). exists s. split; [apply in_range; exact Hs|]. rewrite E. simpl.
      auto. }
  destruct (worth_of T C k lam) as [|v|v]; [split; [intros []|intros (_ & F & _); congruence]| |];
    rewrite G; intuition congruence.
Qed.
Lemma served_best b i C k lam :
  is_best (menu_at T C k lam) (b i) (served T (own_row T b i) C k lam).
Proof.
  assert (BID : forall t q c, In (t, q) (menu_at T C k lam) -> b i t = Some c ->
    exists a, plus (ask (own_row T b i) t) (short C k t) = Some a /\ (t < T)%nat /\
      q == value_of (worth_of T C k lam) + c - fst a).
  { intros t q c H Ec. apply in_menu in H as (Ht & _ & a & Ea & ->). rewrite (ask_own b i t Ht).
    unfold cell. rewrite Ec, Ea. eexists. split; [reflexivity|]. split; [exact Ht|]. simpl. lra. }
  unfold served. destruct (cheapest _ C k (tasks T)) as [(s, a)|] eqn:E.
  - apply cheapest_some in E as (Hs & Es & M). apply in_range in Hs.
    assert (LEAST : forall t q c, In (t, q) (menu_at T C k lam) -> b i t = Some c ->
      q - c <= value_of (worth_of T C k lam) - fst a).
    { intros t q c H Ec. destruct (BID t q c H Ec) as (x & Ex & Ht & Eq). rewrite Eq.
      apply in_range in Ht. specialize (M t Ht). rewrite Ex in M. unfold below_or_equal, leq in M.
      lra. }
    rewrite (ask_own b i s Hs) in Es. unfold cell in Es.
    destruct (b i s) as [x|] eqn:Ex; [|discriminate].
    destruct (short C k s) as [c|] eqn:Ec; [|discriminate].
    simpl in Es. injection Es as Es.
    assert (Fa : fst a == x + fst c) by (rewrite <- Es; simpl; lra).
    destruct (accepts _ a) eqn:A; simpl.
    + split.
      * apply in_menu. split; [exact Hs|]. split; [intros F; rewrite F in A; discriminate|].
        exists c. auto.
      * exists x. split; [exact Ex|]. split.
        -- destruct (worth_of T C k lam) as [|v|v]; simpl in *; [discriminate| |].
           ++ apply qle_true in A. lra.
           ++ apply negb_true_iff, leqb_false in A. unfold leq in A. lra.
        -- intros t q d H Ed. specialize (LEAST t q d H Ed). lra.
    + intros t q d H Ed. specialize (LEAST t q d H Ed). apply in_menu in H as (_ & F & _).
      destruct (worth_of T C k lam) as [|v|v]; simpl in *; [congruence| |].
      * apply qle_false in A. lra.
      * apply negb_false_iff, leqb_true in A. unfold leq in A. lra.
  - intros t q d H Ed. destruct (BID t q d H Ed) as (x & Ex & Ht & _). apply in_range in Ht.
    rewrite (cheapest_none _ _ _ _ _ E Ht) in Ex. discriminate.
Qed.

(* ------------------------------------------------------------------ 5. truthfulness *)
Variable choose : nat -> list (list (option (Q * Q))) -> ((nat -> nat) -> option (Q * Q)) ->
  nat * option Q.

Lemma menu_by_reads_others b b' i : agree_but i b b' ->
  menu_by N T choose b i = menu_by N T choose b' i.
Proof. intros H. unfold menu_by. rewrite (rows_agree b b' i H). reflexivity. Qed.
Lemma served_by_best b i : is_best (menu_by N T choose b i) (b i) (served_by N T choose b i).
Proof.
  unfold menu_by, served_by. destruct (choose _ _ _) as [[|k] lam]; [intros t q c []|].
  apply served_best.
Qed.
Theorem served_by_truthful b b' i : agree_but i b b' ->
  ule (unit_utility (served_by N T choose b' i) (b i))
      (unit_utility (served_by N T choose b i) (b i)).
Proof. apply menu_truthful with (menu_by N T choose).
  - apply menu_by_reads_others. - intros. apply served_by_best. Qed.
Theorem served_by_individually_rational b i s p : served_by N T choose b i = Some (s, p) ->
  exists a, b i s = Some a /\ a <= p.
Proof. apply menu_individually_rational with (menu_by N T choose).
  intros. apply served_by_best. Qed.
End Facts.

(* ------------------------------------------------------------------ 6. the cap is within the bound *)
Lemma largest_one l : fold_right qmax 0 l = 0 \/ In (fold_right qmax 0 l) l.
Proof.
  induction l as [|x l IH]; simpl; [auto|].
  destruct (qmax_spec x (fold_right qmax 0 l)) as [[_ ->]|[_ ->]]; [|auto].
  destruct IH as [IH|IH]; auto.
Qed.
Theorem cap_within_budget T B slack C k lam : cap T B slack C k = Some lam ->
  lam = 0 \/ spend_at T slack k (prices_and_marginals T C k) lam <= B.
Proof.
  unfold cap. destruct (uncapped_fits T B slack C k); [discriminate|]. intros [= <-].
  match goal with |- context [filter ?f ?l] =>
    destruct (largest_one (filter f l)) as [E|H] end; [left; exact E|right].
  apply filter_In in H as [_ H]. apply qle_true in H. exact H.
Qed.
