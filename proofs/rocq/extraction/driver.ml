(* Standard input, one auction per line: N T budget reserve_1..T capacity_1..N bid_11 .. bid_NT, the
   amounts as p/q in binary, - for none. Standard output, one line each: the N x T cells of
   max_min_fair, of budget_fair, of max_min_fair with the capacities, of the rule with clearing levels
   (pay, or - for not recruited), and of the offers (level@price). *)
open Rules

let rec nat n = if n = 0 then O else S (nat (n - 1))
let rec int = function O -> 0 | S k -> 1 + int k

let positive digits =
  let r = ref XH in
  String.iteri (fun i c -> if i > 0 then r := if c = '0' then XO !r else XI !r) digits;
  !r

let amount word =
  match String.split_on_char '/' word with
  | [ p; d ] -> { qnum = (if p = "0" then Z0 else Zpos (positive p)); qden = positive d }
  | _ -> failwith "amount"

let optional word = if word = "-" then None else Some (amount word)

let rec bits p acc =
  match p with XH -> "1" ^ acc | XO p -> bits p ("0" ^ acc) | XI p -> bits p ("1" ^ acc)

let show = function
  | None -> "-"
  | Some { qnum; qden } ->
      (match qnum with Z0 -> "0" | Zpos p -> bits p "" | Zneg p -> "-" ^ bits p "")
      ^ "/" ^ bits qden ""

let offer (k, p) = string_of_int (int k) ^ "@" ^ show p

let rec take n l =
  if n = 0 then ([], l)
  else match l with x :: r -> let a, b = take (n - 1) r in (x :: a, b) | [] -> failwith "short"

let outcomes line =
  match String.split_on_char ' ' line with
  | n :: t :: b :: words ->
      let n = int_of_string n and t = int_of_string t and b = amount b in
      let reserve, words = take t words in
      let reserve = List.map optional reserve in
      let capacities, words = take n words in
      let capacities = List.map (fun word -> nat (int_of_string word)) capacities in
      let rec rows k l = if k = 0 then [] else let r, l = take t l in r :: rows (k - 1) l in
      let bids = rows n (List.map optional words) in
      let n = nat n and t = nat t in
      let all f cells = String.concat " " (List.concat_map (List.map f) cells) in
      String.concat " "
        [ all show (run_max_min n t b reserve bids); all show (run_fair n t b bids);
          all show (run_capacities n t b reserve capacities bids);
          all show (run_clearing n t b bids);
          all offer (run_offers n t b reserve bids) ]
  | _ -> failwith "line"

let () =
  try
    while true do
      print_endline (outcomes (input_line stdin))
    done
  with End_of_file -> ()
