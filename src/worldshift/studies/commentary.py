"""What the report says beside a study's numbers: what was published about it, and what the rows mean.

Words without numbers of ours: those are in the tables, and change with the rows. Numbers of the papers are in the facts
of arXiv 2505.15589 (RWM: tables 2 to 5, figures 1 to 3) and arXiv 2504.02252 (ReDRAW).
"""

from typing import NamedTuple


class Commentary(NamedTuple):
    """Of one study."""

    meaning: str
    paper: str = ""


_REDRAW = "ReDRAW shows curves of returns by updates for these four pairs; no table of numbers was at hand."
_TABLE_2 = (
    "RWM, table 2, walker: the fault costs 108.4 a run for the frozen agent, 36.5 for a finetuned one, 6.2 with the "
    "reflex (94 % recovered); control error 28.1, 8.9 and 7.4. On the cheetah the reflex recovers 78 %, on the hopper "
    "71, on the cup, which loses 1.0, nothing; finetuning 11, 60 and 100. Seeds and intervals over seeds are not given."
)

COMMENTARY = {
    "base-agents": Commentary(
        "The base agents are good enough to have something to lose. Saturated actions would leave corrections no room.",
        "Official TD-MPC2 scores, planner on, are the points beside the curves.",
    ),
    "step-gains": Commentary(
        "A reflex that estimates a few numbers with a Kalman step is right within seconds, and then as near to nominal "
        "as an oracle that is told the fault. An encoder that was trained on such faults (RMA) is nearly as good; L1 "
        "control, which takes a weak motor for a push, is not.",
        _TABLE_2,
    ),
    "delays": Commentary(
        "An action that comes late is the right one for where the body was. Which of the last commands arrives is told "
        "by the error; the model then says where the body will be, and the agent acts for there.",
        "Not in the paper: a correction that is added to the action cannot come sooner.",
    ),
    "action-cost": Commentary(
        "What saturated actions cost is room, not the gradient, which does not pass through the policy. Without a cost "
        "most can be won back if commands may exceed the policy's range, and little if they may not. A plain quadratic "
        "cost does not leave that room either, and this walker walks worse with it.",
        "RWM trains every agent with a thresholded cost and commands up to twice the range, and does not compare.",
    ),
    "no-shift": Commentary(
        "A reflex that listens all the time costs a healthy body nothing that these lives can resolve.",
    ),
    "paper-table": Commentary(
        "The printed algorithm is a loop over episodes whose body is one control step, so that its Adam step may be "
        "taken once an episode or on the way. On the way it wins back sooner and more. On the same lives the fast "
        "reflex wins back all from the first episodes on. With the published step size a controller on a latent of 128 "
        "hardly moves.",
        _TABLE_2
        + " Read off figure 2, half of the error is gone after 40 to 45 episodes, and the walker's normalised reward "
        "is at 0.64 after 5 episodes, 0.8 after 30 and 0.9 after 70, so that the table's 94 % is not a mean over the "
        "phase.",
    ),
    "update-laws": Commentary(
        "How far ahead errors are predicted does not matter. Learning while the episode is under way does, and so does "
        "the right form: a gain and an offset for each motor, with the same step, find what a network does not.",
        "Not in the paper; its first author's code keeps a horizon of 3, the latent alone, and a step an episode.",
    ),
    "latents": Commentary(
        "A space serves if it was trained to predict or is what the sensors say. In an untrained encoder's the error "
        "points elsewhere, and the slow correction can do harm. For a body whose state is measured, the agent's latent "
        "is a convenience.",
        "RWM measures errors in the agent's latent and leaves open whether another would do.",
    ),
    "point-mass": Commentary(
        "A turn mixes two motors. Gains cannot say that, and a reflex that estimates gains alone does harm here. With "
        "a full matrix the second episode is straight again; when the turning ends, the next one bends the other way. "
        "The layered reflex is not told that motors may mix, and learns most of it in a few episodes.",
        "RWM, figure 1C, read off: of a deviation of 45 mm 34 are left at the end of a phase (50 and 36 the other "
        "way). After-effects are -7 and 11 mm.",
    ),
    "finetune": Commentary(
        "Training on needs the reward, and minutes in which the body is worse off; the reflex needs neither.",
        _TABLE_2,
    ),
    "planner": Commentary(
        "A planner of few samples acts more noisily than the policy, and the calibration saw the policy only: most of "
        "the reward comes back, but the gains are found badly. Calibrated with the planner, the reflex finds them.",
        "RWM plans on the humanoid alone, and compares nothing with and without.",
    ),
    "mechanism": Commentary(
        "The reference is where the model says that the base action should lead. What happens instead is the error, "
        "and the correction moves until the motor does what the base action asked for.",
        "RWM, figure 1A and B, show this as a diagram.",
    ),
    "drift": Commentary(
        "Gains that never stand still are tracked by a filter whose model says that they move. A step an episode "
        "follows only what changes over hundreds of episodes.",
        "RWM, figure 3A, walker: mean reward 360.56 with the reflex, 311.67 finetuned, 233.42 frozen, of about 365 "
        "nominal; control error 0.8, 1.8 and 3.6 in units of 1e-5.",
    ),
    "magnitude": Commentary(
        "The error that a change of gains causes grows with the square of its size, and the reflex does not mind the "
        "size: it stops where commands reach twice the policy's range, which is where the oracle stops, too.",
        "RWM tests changes up to 0.5 and no other size. Its printed contraction factor never contracts; the corrected "
        "condition is a step size below 2 / (L² (1 + P)), and what is left is the part that no action can reach.",
    ),
    "after-effects": Commentary(
        "When the fault ends, the correction is wrong for as long as it took to find. Nothing piles up over twenty "
        "times, and nothing is remembered: the second time takes as long as the first.",
        "RWM, figure 2: at the fault's end the control error jumps to 0.43 of the frozen agent's and is at 0.04 after "
        "20 episodes, 200 s; figure 1C: after-effects of opposite sign on a point mass.",
    ),
    "beyond-gains": Commentary(
        "What actions can undo is undone; for the rest it matters that the reflex notices. The table says where each "
        "reflex loses against the frozen agent, which is where not to trust it. Of what no map of the actions undoes "
        "a small network on top recovers much; it learns only while error is left that actions reach, and acts only "
        "once it has proven itself on steps that it has not learned from.",
        "Not in the paper: morphology, environment and sensors are named as untested.",
    ),
    "offline-methods": Commentary(
        "From the same recordings, with the same policy to begin with, a residual, a finetune and new dynamics end "
        "alike where the change is a sign; where it is a force, new dynamics fall behind. Data decide more. A "
        "recurrent model's finetune is the best of all on the reacher, and on the pendulum it loses most of what it "
        "won, while its held-out error falls. A policy trained under random draws of the change serves where that is "
        "a force, and not where it is a sign.",
        _REDRAW + " It reports that a finetuned DreamerV3, which is recurrent, overfits.",
    ),
    "offline-pixels": Commentary(
        "On the pendulum the same adaptation works from images, if whole episodes are recorded: short ones do not show "
        "fast rotation, and one policy in five learns to spin. A residual forgets less than a finetune here. Encoders "
        "of reacher and cup saw random changes while they were distilled; with half of the data its own the reacher "
        "is as good as from states, and on the cup one policy in five never catches and records nothing else.",
        _REDRAW,
    ),
    "offline-own": Commentary(
        "Let the adapted agent record half of the data: what it does wrong is then in it. On such data a residual and "
        "a finetune of the dynamics end alike, but for one cup that the finetune does not learn to catch with; new "
        "dynamics fail where the change is a force. Training everything is behind; at a third of the learning rate by "
        "less, but one run in five then loses again much of what it won.",
        _REDRAW,
    ),
    "offline-data": Commentary(
        "An expert's data, half of them with bursts of noise, teach a pendulum from 4,000 transitions on, and the "
        "reacher from 40,000. Without the noise they fail at a low held-out error, but on the reacher it warns; what "
        "the model reads of the agent's own episodes does tell.",
        "ReDRAW reports overfitting from 10,000 transitions and fewer.",
    ),
    "offline-choices": Commentary(
        "What the residual sees, how it begins, and how its probabilities are mixed makes no difference here; what the "
        "policy begins with does. The source's actor under a new output layer holds on every seed, a fresh one loses "
        "one of five, and the source's actor as it is, which is sure of the opposite, learns little.",
        "ReDRAW begins with a random output layer, a fresh actor and critic, and dreams from all latents alike.",
    ),
    "offline-rates": Commentary(
        "What trains most wants the lowest rate: a finetune of everything learns to catch at 3e-4, and hardly at 1e-3. "
        "The residual of the reacher needs its fast lead, or the held-out error stays at five nats. On the cup a "
        "policy finds the catch or does not, and two seeds do not tell the other rates apart.",
        "In its authors' code the residual has 1e-2 and both finetunes 1e-4; a search is not reported.",
    ),
    "offline-small": Commentary(
        "The default, 15 steps from 64 latents, is about the least that three of the pairs need: with fewer and "
        "shorter dreams their policies learn less from as many updates. The pendulum does with 10 steps from 32.",
        "ReDRAW dreams 40 steps from 1,024 latents in pretraining, and from 341 in adaptation.",
    ),
    "offline-long": Commentary(
        "Nothing is lost in ten times the updates that the residual needs, whatever corrects the model. Where the "
        "change is a force the residual ends highest, and new dynamics have not arrived by then.",
        "ReDRAW reports that its residual keeps its returns over long training while finetunes overfit.",
    ),
    "offline-looks": Commentary(
        "A camera that is moved raises the model's error long before anything is lost. Of colours and light the error "
        "warns late.",
        "ReDRAW trusts its encoder and does not ask how far it carries.",
    ),
}
