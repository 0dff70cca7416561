"""Arguments as other libraries name them: those with an equivalent here are translated, the others answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

POLICIES = {  # of Stable-Baselines3; what reads the observations is chosen by their space here
    "MlpPolicy": "auto",
    "CnnPolicy": "auto",
    "MultiInputPolicy": "auto",
    "MlpLstmPolicy": "gru",
    "CnnLstmPolicy": "gru",
    "MultiInputLstmPolicy": "gru",
}
ACTIVATIONS = {"Tanh": "tanh", "ReLU": "relu", "SiLU": "silu"}  # torch.nn's classes
SCHEDULES = {"learning_rate": "lr_schedule", "clip_range": "clip_schedule"}
RENAMED = {
    "n_envs": "num_envs n_env nenvs num_env num_cpu num_workers num_env_runners",
    "n_steps": "num_steps nsteps rollout_length rollout_fragment_length horizon",
    "learning_rate": "lr step_size pi_lr",
    "batch_size": "minibatch_size mini_batch_size sgd_minibatch_size",
    "n_epochs": "update_epochs noptepochs num_ppo_epochs num_sgd_iter ppo_epochs num_epochs train_pi_iters",
    "gae_lambda": "lam lambda_ gae_lam",
    "clip_range": "clip_coef cliprange clip_param clip_ratio epsilon eps_clip clip_eps",
    "clip_range_vf": "cliprange_value cliprange_vf vf_clip_param",
    "ent_coef": "entropy_coef entropy_coeff ent_coeff entropy_weight",
    "vf_coef": "vf_coeff value_coef vf_loss_coeff value_loss_coef critic_coef",
    "max_grad_norm": "grad_clip max_gradient_norm gradient_clip clip_grad",
    "normalize_advantage": "norm_adv advantage_normalization whiten_advantages",
    "normalize_observation": "norm_obs normalize_obs",
    "normalize_reward": "norm_reward normalize_rewards norm_rew",
    "net_arch": "hidden_sizes hidden_dims layers",
    "activation": "activation_fn nonlinearity",
    "memory_size": "lstm_hidden_size gru_hidden_size rnn_size",
    "lr_schedule": "lr_scheduler_type lr_scheduler",
    "lora_rank": "lora_r",
    "lora_target_modules": "target_modules",
}
_ADVANTAGES = "override collect or estimate_advantages in a subclass"
_LORA = "lora_rank=16 trains adapters, with lora_alpha and lora_target_modules; lora_rank=0 trains all weights"
_EVALUATION = "learn(…, callbacks=Evaluate(every, n_episodes, env=…)) evaluates during training"
_LOGGING = 'learn(…, run="runs/name") writes TensorBoard events, metrics.jsonl and checkpoints there'
_SDE = "state-dependent exploration is not implemented; log_std_init and ent_coef set how much is explored"
_VIDEO = "wrap an environment in gymnasium.wrappers.RecordVideo, or `textrlhf watch` the run"
ANSWERS = {
    "_init_setup_model": "networks are made at once: leave it out",
    "anneal_lr": 'lr_schedule="linear" lowers the learning rate to 0 over training',
    "callback": "learn and resume take callbacks=…",
    "callbacks": "learn and resume take it",
    "capture_video": _VIDEO,
    "clip_vloss": "clip_range_vf=0.2 clips the value function",
    "create_eval_env": _EVALUATION,
    "custom_objects": "load(…, learning_rate=…) changes hyperparameters",
    "cuda": 'device="cuda" puts the networks there',
    "env_id": "the environment is the first argument",
    "eval_env": _EVALUATION,
    "eval_freq": _EVALUATION,
    "exp_name": _LOGGING,
    "features_extractor_class": "policy= takes a class or function that makes a network of your own",
    "monitor_wrapper": "returns and lengths of episodes are recorded without a wrapper: leave it out",
    "n_eval_episodes": _EVALUATION,
    "nminibatches": "batch_size is n_envs * n_steps / nminibatches",
    "num_minibatches": "batch_size is n_envs * n_steps / num_minibatches",
    "optimizer_class": "Adam is the only optimizer",
    "gradient_accumulation_steps": "minibatches have batch_size steps, and are read in parts of tokens_at_once tokens",
    "lora_dropout": "adapters have no dropout, so that the first ratio is 1: leave it out",
    "load_in_4bit": "weights are not quantised: lora_rank=16 and a model loaded in bfloat16 save memory",
    "load_in_8bit": "weights are not quantised: lora_rank=16 and a model loaded in bfloat16 save memory",
    "peft_config": _LORA,
    "policy_kwargs": "its entries are hyperparameters here, such as net_arch=(64, 64) and activation='relu'",
    "progress": "learn and resume take it",
    "progress_bar": "learn and resume take progress=…",
    "report_to": _LOGGING,
    "reset_num_timesteps": "learn always goes on counting: leave it out",
    "rollout_buffer_class": _ADVANTAGES,
    "rollout_buffer_kwargs": _ADVANTAGES,
    "run": "learn takes it",
    "sde_sample_freq": _SDE,
    "stats_window_size": "rollout/… metrics are means over the last 100 episodes: leave it out",
    "steps_per_epoch": "a rollout has n_envs * n_steps steps",
    "support_multi_env": "every agent trains in n_envs environments: leave it out",
    "tensorboard_log": _LOGGING,
    "torch_deterministic": "runs on a CPU are repeated bit for bit by seed=…: leave it out",
    "total_timesteps": "learn takes it",
    "track": _LOGGING,
    "train_batch_size": "a rollout has n_envs * n_steps steps, and a minibatch batch_size",
    "use_peft": _LORA,
    "use_rms_prop": "Adam is the only optimizer",
    "use_sde": _SDE,
    "verbose": "learn(…, progress=False) hides the progress bar, which is all that is printed",
    "wandb_project_name": _LOGGING,
}
ENVIRONMENT = {  # arguments of text environments, and what others call them
    "task": "",
    "model": "model_name_or_path ref_model",
    "reward_model": "reward_funcs reward_fn reward",
    "prompts": "train_dataset prompt_dataset",
    "chat": "apply_chat_template",
    "system_prompt": "system system_message",
    "split": "",
    "max_new_tokens": "response_length max_completion_length max_length max_tokens",
    "min_new_tokens": "min_length",
    "allowed_tokens": "",
    "context": "context_length max_model_len",
    "kl_coef": "init_kl_coef beta kl_coeff",
    "kl_penalty": "",
    "credit": "",
    "on_length": "",
    "missing_eos_penalty": "",
    "prompt_overflow": "",
    "turns": "max_turns",
    "feedback": "",
    "max_episode_steps": "",
}
ANSWERS |= {
    name: f'it belongs to the environment: env_kwargs={{"{ours}": …}}'
    for ours, theirs in {**ENVIRONMENT, "render_mode": ""}.items()
    for name in (ours, *theirs.split())
}
HARMLESS = {"verbose": 1, "use_sde": False, "tensorboard_log": None, "_init_setup_model": True}  # as it is here
LEARN = {
    "eval_env": _EVALUATION,
    "eval_freq": _EVALUATION,
    "eval_log_path": _EVALUATION,
    "log_interval": "the progress bar shows every update and metrics.jsonl has up to 500 rows: leave it out",
    "n_eval_episodes": _EVALUATION,
    "reset_num_timesteps": "learn always goes on counting: leave it out, or make a new agent to start from step 0",
    "tb_log_name": 'run="runs/name" is the folder of TensorBoard events',
}


def answer(name: str, known: Iterable[str]) -> str | None:
    """What to write instead of another library's hyperparameter; None if it is not one."""
    if (ours := renamed(name)) in known:
        return f"it is called {ours} here"
    return ANSWERS.get(name)


def renamed(name: str) -> str:
    """The hyperparameter that another library calls `name`; "" if there is none."""
    return next((ours for ours, theirs in RENAMED.items() if name in theirs.split()), "")


def arguments(env: Any, config: Any, given: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """An agent's arguments from those in the manner of Stable-Baselines3, `PPO("MlpPolicy", env, policy_kwargs=…)`."""
    hyperparameters = {name: value for name, value in given.items() if HARMLESS.get(name, given) != value}
    if isinstance(env, str) and env in POLICIES:
        if config is None:
            raise TypeError(f"env is {env!r}, a policy: the environment is missing")
        env, config, hyperparameters = config, None, {"policy": env, **hyperparameters}
    if isinstance(config, gym.Env | VectorEnv) or (
        isinstance(config, str) and not isinstance(env, gym.Env | VectorEnv)
    ):
        raise TypeError(
            f"the first argument is {env!r} and the second {config!r}: the environment comes first, then policy=…. "
            f"Before it, as in Stable-Baselines3, only {', '.join(POLICIES)} are understood"
        )
    if isinstance(policy := hyperparameters.get("policy"), str):
        hyperparameters["policy"] = POLICIES.get(policy, policy)
    if "policy_kwargs" in hyperparameters:
        ours = _policy_kwargs(hyperparameters.pop("policy_kwargs") or {})
        if twice := ours.keys() & hyperparameters.keys():
            raise TypeError(f"{min(twice)} is given twice, also by policy_kwargs")
        hyperparameters |= ours
    return env, config, hyperparameters


def learn_arguments(callbacks: Any, progress: bool, others: Mapping[str, Any]) -> tuple[Any, bool]:
    """The callbacks and the progress bar of `learn`, also as `callback` and `progress_bar`."""
    for name, value in others.items():
        if name == "callback":
            if callbacks not in ((), None):
                raise TypeError("callback and callbacks are the same: give one of them")
            callbacks = value
        elif name == "progress_bar":
            progress = bool(value)
        elif name == "reset_num_timesteps" and value is False:
            pass  # as it is here
        else:
            accepted = "accepted are callbacks, run and progress"
            raise TypeError(f"learn has no argument {name!r}: {LEARN.get(name, accepted)}")
    return callbacks, progress


def _policy_kwargs(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Stable-Baselines3's `policy_kwargs` as hyperparameters."""
    ours: dict[str, Any] = {}
    for name, value in theirs.items():
        if name == "net_arch":
            ours["net_arch"] = _net_arch(value)
        elif name == "activation_fn":
            if (kind := getattr(value, "__name__", "")) not in ACTIVATIONS:
                raise ValueError(
                    f"policy_kwargs: activation_fn is {value!r}: accepted are torch.nn's {', '.join(ACTIVATIONS)}"
                )
            ours["activation"] = ACTIVATIONS[kind]
        elif name == "log_std_init":
            ours[name] = value
        elif name == "lstm_hidden_size":
            ours["memory_size"] = value
        elif not (name == "ortho_init" and value is True):  # weights are orthogonal
            raise TypeError(
                f"policy_kwargs has {name!r}: accepted are net_arch, activation_fn, log_std_init and lstm_hidden_size. "
                "policy= takes a class or function that makes a network of your own (docs/contributing.md)"
            )
    return ours


def _net_arch(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]  # as older versions write it
    if not isinstance(value, Mapping):
        return tuple(value)
    actor, critic = (tuple(value.get(part, ())) for part in ("pi", "vf"))
    if actor != critic:
        raise ValueError(
            f"policy_kwargs: net_arch is {value}: actor and critic have the same widths here, net_arch={actor}; for "
            "others policy= takes a class or function that makes a network of your own (docs/contributing.md)"
        )
    return actor
