(* What is proved, in one place. N clients, T tasks, a budget B >= 0, any rational bids >= 0, None =
   does not bid, ties to the lower index. `outside` are the bids of sellers outside the auction (the
   reserve price), [] without. Each theorem prints what it assumes, which must be nothing. *)
From Coq Require Import QArith List Arith Lia Lqa.
Require Import Auction ProportionalShare Floor Capacity.
Require Import Assignment Menu ClearingLevels SpendBound Outsiders Refuted.
Import ListNotations.
Open Scope Q_scope.

Section MaxMinFair.
Variables (N T : nat) (B : Q) (outside : nat -> list Q).
Hypothesis budget : 0 <= B.
Hypothesis reserve : forall t, nonneg (outside t).
Variable b : profile.
Hypothesis bids_ok : bids_nonneg b.

Theorem max_min_fair_truthful i b' : agree_but i b b' ->
  ule (utility N T B outside b' i (b i)) (utility N T B outside b i (b i)).
Proof. apply truthful; assumption. Qed.
Theorem max_min_fair_participation i : ule (Some 0) (utility N T B outside b i (b i)).
Proof. apply participation; assumption. Qed.
Theorem max_min_fair_individually_rational i s p : outcome N T B outside b i s = Some p -> exists a,
  b i s = Some a /\ a <= p.
Proof. apply individually_rational; assumption. Qed.
Theorem max_min_fair_within_budget : spend N T B outside b <= B.
Proof. apply within_budget; assumption. Qed.
Theorem max_min_fair_price_reads_others_only i s b' : agree_but i b b' ->
  price N T B outside b i s = price N T B outside b' i s.
Proof. apply price_independent. Qed.
Theorem max_min_fair_bisection i s : bisect N 0 N (is_open N T B outside b i s) = level N T B
  outside b i s.
Proof. apply level_by_bisection; assumption. Qed.
Theorem max_min_fair_price_is_the_best i s k q : (s < T)%nat -> (1 <= k <= N)%nat -> is_open N T B
  outside b i s k = true ->
  price_at N T B outside b i s k = Some q -> exists p, price N T B outside b i s = Some p /\ q <= p.
Proof. intros Hs. apply price_is_the_best; try assumption. apply in_tasks. exact Hs. Qed.
Theorem max_min_fair_losers_unpaid i s : wins N T B outside b s i = false -> pay N T B outside b s i
  = 0.
Proof. apply losers_unpaid. Qed.
Theorem max_min_fair_capacities (m : nat -> nat) i b' : agree_but i b b' ->
  ule (capacity_utility N T B outside m b' i (b i)) (capacity_utility N T B outside m b i (b i)).
Proof. apply capacity_auction_truthful; assumption. Qed.
Theorem max_min_fair_capacities_kept (m : nat -> nat) i :
  (length (chosen N T B outside m b i) <= m i)%nat.
Proof. apply capacity_kept. Qed.
Theorem max_min_fair_capacities_within_budget (m : nat -> nat) :
  sumQ (map (fun s => sumQ (map (capacity_pay N T B outside m b s) (clients N))) (tasks T)) <= B.
Proof. apply capacity_within_budget; assumption. Qed.
End MaxMinFair.

Theorem max_min_fair_floor N T B b k s : 0 <= B -> bids_nonneg b -> greedy N T B b k -> (s < T)%nat
  ->
  ((k - 1) / 2 <= length (filter (wins N T B nobody b s) (clients N)))%nat.
Proof. intros HB Hb G Hs. apply floor; try assumption. apply in_tasks. exact Hs. Qed.
Theorem one_task N B b s i : 0 <= B -> bids_nonneg b -> (i < N)%nat ->
  same (outcome N 1 B nobody (only b s) i 0) (share_outcome N B b i s).
Proof. intros. apply one_task_is_proportional_share; assumption. Qed.
Theorem budget_fair_truthful N T B b b' i : 0 <= B -> (i < N)%nat -> bids_nonneg b -> bids_nonneg b'
  -> agree_but i b b' ->
  ule (fair_utility N T B b' i (b i)) (fair_utility N T B b i (b i)).
Proof. intros. apply fair_truthful; assumption. Qed.
Theorem budget_fair_within_budget N T B b : 0 <= B -> bids_nonneg b -> fair_spend N T B b <= B.
Proof. intros. apply fair_within_budget; assumption. Qed.
Theorem budget_fair_individually_rational N T B b i s p : 0 <= B -> (i < N)%nat -> bids_nonneg b ->
  fair_outcome N T B b i s = Some p -> exists a, b i s = Some a /\ a <= p.
Proof. intros. eapply fair_individually_rational; eassumption. Qed.
Theorem menu_with_capacity_truthful m (p r c : nat -> Q) ts : NoDup ts ->
  value (fun t => p t - c t) (best m (fun t => p t - r t) ts) <= value (fun t => p t - c t) (best m
    (fun t => p t - c t) ts).
Proof. apply capacity_truthful. Qed.

(* Clients that do at most one task: the rule with clearing levels, CLW. *)
Theorem unit_demand_menu_truthful (menu : profile -> nat -> list (nat * Q))
  (rule : profile -> nat -> option (nat * Q)) b b' i :
  (forall b b' i, agree_but i b b' -> menu b i = menu b' i) ->
  (forall b i, is_best (menu b i) (b i) (rule b i)) -> agree_but i b b' ->
  ule (unit_utility (rule b' i) (b i)) (unit_utility (rule b i) (b i)).
Proof. intros H1 H2. apply menu_truthful with menu; assumption. Qed.
Theorem any_clearing_level_truthful N T choose b b' i : agree_but i b b' ->
  ule (unit_utility (served_by N T choose b' i) (b i))
      (unit_utility (served_by N T choose b i) (b i)).
Proof. apply served_by_truthful. Qed.
Theorem clw_truthful N T B b b' i : agree_but i b b' ->
  ule (unit_utility (clw N T B true b' i) (b i)) (unit_utility (clw N T B true b i) (b i)).
Proof. apply served_by_truthful. Qed.
Theorem clw_individually_rational N T B b i s p : clw N T B true b i = Some (s, p) ->
  exists a, b i s = Some a /\ a <= p.
Proof. apply served_by_individually_rational. Qed.
Theorem clw_participation N T B b i : ule (Some 0) (unit_utility (clw N T B true b i) (b i)).
Proof.
  destruct (clw N T B true b i) as [(s, p)|] eqn:E; simpl; [|lra].
  destruct (clw_individually_rational N T B b i s p E) as (a & Ea & Ha). rewrite Ea. simpl. lra.
Qed.
Theorem clw_menu_reads_others_only N T B b b' i : agree_but i b b' ->
  menu_by N T (clearing N T B true) b i = menu_by N T (clearing N T B true) b' i.
Proof. apply menu_by_reads_others. Qed.
Theorem clw_serves_the_best_item N T B b i :
  is_best (menu_by N T (clearing N T B true) b i) (b i) (clw N T B true b i).
Proof. apply served_by_best. Qed.

(* What CLW is built on: the least cost of quotas, computed by a table. *)
Theorem least_cost_is_least T rows q jobs : fills T rows q jobs ->
  below_or_equal (least T rows q) (cost jobs).
Proof. apply least_is_least. Qed.
Theorem least_cost_is_reached T rows q a : least T rows q = Some a ->
  exists jobs, fills T rows q jobs /\ cost jobs = Some a.
Proof. apply least_is_reached. Qed.
Theorem least_cost_by_table T m rows q : tabulated T m rows q = least T rows q.
Proof. apply tabulated_is_least. Qed.
(* Lemma 1: marginals grow with the quotas, and do not rise when clients are added. *)
Theorem least_cost_substitutes T rows q s t : (s < T)%nat -> (t < T)%nat ->
  below_or_equal (plus (least T rows (more q s)) (least T rows (more q t)))
                 (plus (least T rows (more (more q s) t)) (least T rows q)).
Proof. apply substitutes. Qed.
Theorem least_cost_more_clients T extra rows q s : (s < T)%nat ->
  below_or_equal (plus (least T (extra ++ rows) (more q s)) (least T rows q))
                 (plus (least T rows (more q s)) (least T (extra ++ rows) q)).
Proof. apply more_clients. Qed.
(* Lemma 2: a client is worth at most one level, at prices and at lower marginals. *)
Theorem least_cost_one_level T r rows q t : (t < T)%nat ->
  below_or_equal (plus (least T rows (more q t)) (least T (r :: rows) (all_more q)))
                 (plus (least T (r :: rows) (more (all_more q) t)) (least T rows q)).
Proof. apply one_client_one_level. Qed.
Theorem least_cost_one_level_below T r rows q t : (t < T)%nat -> (0 < q t)%nat ->
  below_or_equal (plus (least T rows q) (least T (r :: rows) (fewer (all_more q) t)))
                 (plus (least T (r :: rows) (all_more q)) (least T rows (fewer q t))).
Proof. apply one_client_one_level_below. Qed.
(* Part of Lemma 3: with one place more, everybody who works goes on working. *)
Theorem least_cost_recruits_stay T rows q s Y : (s < T)%nat -> fills T rows q Y ->
  below_or_equal (cost Y) (least T rows q) -> least T rows (more q s) <> None ->
  exists Y', fills T rows (more q s) Y' /\
    below_or_equal (cost Y') (least T rows (more q s)) /\
    Forall2 (fun j j' => snd j <> None -> snd j' <> None) Y Y'.
Proof. apply recruits_stay. Qed.
(* The cost with outsiders that CLW computes is that of a market with enough of them. *)
Theorem clw_cost_with_outsiders T rows lam n q : (total_of T q <= n)%nat ->
  exists a, least T (outsiders T n lam ++ rows) q = Some a /\
    fst a == lowest (lines T (least T rows) q) lam.
Proof. apply lines_are_outsiders. Qed.
(* A cap that CLW finds keeps the spend bound within the budget. *)
Theorem clw_cap_within_budget T B C k lam : cap T B true C k = Some lam ->
  lam = 0 \/ spend_at T true k (prices_and_marginals T C k) lam <= B.
Proof. apply cap_within_budget. Qed.
(* The last step of the budget: the counts and prices of the paper's proof fit the spend bound. *)
Theorem clw_spend_bound_covers T k (p m : nat -> Q) (a x : nat -> nat) :
  (forall s, 0 <= m s <= p s) -> (forall s, (a s <= k)%nat /\ (a s <= x s)%nat) ->
  (forall s, (k <= x s + T)%nat /\ (x s <= k + (T - 1))%nat) ->
  (sum_nat (map (fun s => x s - k) (tasks T)) <= sum_nat (map (fun s => k - x s) (tasks T)))%nat ->
  (sum_nat (map (fun s => x s - k) (tasks T)) <= T * (T / 2))%nat ->
  sumQ (map (fun s => nQ (a s) * p s + nQ (x s - a s) * m s) (tasks T))
    <= bound true T k (map p (tasks T)) (map m (tasks T)).
Proof. apply spend_within_bound. Qed.
(* The step of the take-up: a level passes its test if the budget pays for its double and T - 1. *)
Theorem clw_affordable_level_fits T rows B k c :
  (forall r s a, In r rows -> ask r s = Some a -> 0 <= fst a) -> (1 <= T)%nat -> (1 <= k)%nat ->
  money (least T rows (level_quota (2 * k + (T - 1)))) = Some c -> c <= B ->
  uncapped_fits T B true (least T rows) k = true.
Proof. intros. eapply affordable_level_fits; eassumption. Qed.
(* Wrong relatives of CLW: the default auction of which a client keeps the first task that it wins,
   one level for all, and no allowance for unequal counts. *)
Theorem first_task_of_default_not_truthful : ~ truthful_for_unit_demand first_kept.
Proof. apply first_kept_not_truthful. Qed.
Theorem one_clearing_level_not_truthful : ~ truthful_for_unit_demand one_level_for_all.
Proof. apply one_level_for_all_not_truthful. Qed.
Theorem clw_without_slack_overspends :
  ~ (forall N T B b, 0 <= B -> bids_nonneg b -> clw_spend N T B false b <= B).
Proof. apply without_slack_overspends. Qed.

Print Assumptions max_min_fair_truthful.
Print Assumptions max_min_fair_participation.
Print Assumptions max_min_fair_individually_rational.
Print Assumptions max_min_fair_within_budget.
Print Assumptions max_min_fair_price_reads_others_only.
Print Assumptions max_min_fair_bisection.
Print Assumptions max_min_fair_price_is_the_best.
Print Assumptions max_min_fair_losers_unpaid.
Print Assumptions max_min_fair_capacities.
Print Assumptions max_min_fair_capacities_kept.
Print Assumptions max_min_fair_capacities_within_budget.
Print Assumptions max_min_fair_floor.
Print Assumptions one_task.
Print Assumptions budget_fair_truthful.
Print Assumptions budget_fair_within_budget.
Print Assumptions budget_fair_individually_rational.
Print Assumptions menu_with_capacity_truthful.
Print Assumptions unit_demand_menu_truthful.
Print Assumptions any_clearing_level_truthful.
Print Assumptions clw_truthful.
Print Assumptions clw_individually_rational.
Print Assumptions clw_participation.
Print Assumptions clw_menu_reads_others_only.
Print Assumptions clw_serves_the_best_item.
Print Assumptions least_cost_is_least.
Print Assumptions least_cost_is_reached.
Print Assumptions least_cost_by_table.
Print Assumptions least_cost_substitutes.
Print Assumptions least_cost_more_clients.
Print Assumptions least_cost_one_level.
Print Assumptions least_cost_one_level_below.
Print Assumptions least_cost_recruits_stay.
Print Assumptions clw_cost_with_outsiders.
Print Assumptions clw_cap_within_budget.
Print Assumptions clw_spend_bound_covers.
Print Assumptions clw_affordable_level_fits.
Print Assumptions first_task_of_default_not_truthful.
Print Assumptions one_clearing_level_not_truthful.
Print Assumptions clw_without_slack_overspends.
