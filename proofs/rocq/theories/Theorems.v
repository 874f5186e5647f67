(* What is proved, in one place. N clients, T tasks, a budget B >= 0, any rational bids >= 0, None =
   does not bid, ties to the lower index. `outside` are the bids of sellers outside the auction (the
   reserve price), [] without. Each theorem prints what it assumes, which must be nothing. *)
From Coq Require Import QArith List Arith Lia Lqa.
Require Import Auction ProportionalShare Floor Capacity.
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
